//! Unmodified crates under greenline: crossbeam, parking_lot, rayon, ureq. Beside them stand the tests that need a large
//! crate themselves: random programs by proptest, and the symbols of object files. They are a package of their own, so that
//! greenline and its examples compile without these crates.

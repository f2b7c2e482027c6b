//! std makes no call of the C library that blocks without the patch's knowledge: each symbol is interposed, or is known
//! never to block, or is known to be missing. And each symbol that is listed as interposed is interposed.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

use greenline::patch::{self, Covered};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls that wait neither for another thread or process nor for a time: the reason, and the symbols.
const NEVER_BLOCK: &[(&str, &str)] = &[
    (
        "memory and strings are the caller's own",
        "bcmp calloc free malloc memcmp memcpy memmove memset posix_memalign realloc strlen strnlen rawmemchr memchr \
         aligned_alloc malloc_usable_size memrchr strerror_r __xpg_strerror_r gai_strerror",
    ),
    ("a page is mapped or not", "madvise mmap mmap64 mprotect munmap mremap mlock munlock"),
    (
        "what is asked or set is the process's own, and at hand",
        "__errno_location __res_init chdir chroot clock_gettime environ getauxval getcwd getegid getenv geteuid getgid \
         gethostname getpid getppid getpgid getrandom gettid getuid gnu_get_libc_version kill prctl sched_getaffinity \
         setenv setgid setgroups setpgid setsid setuid sysconf unsetenv getrlimit setrlimit getentropy umask killpg \
         pidfd_getpid confstr secure_getenv",
    ),
    (
        "a handler is put in place, or a set of signals filled in; nobody is waited for",
        "raise sigaction sigaddset sigaltstack sigemptyset sigfillset signal",
    ),
    (
        "attributes and keys are words in memory",
        "pthread_attr_destroy pthread_attr_getguardsize pthread_attr_getstack pthread_attr_init \
         pthread_attr_setguardsize pthread_attr_setstacksize pthread_getspecific pthread_self pthread_setspecific \
         pthread_equal __pthread_get_minstack",
    ),
    (
        "a socket is asked about itself, or told; its peer is not waited for",
        "bind getpeername getsockname getsockopt shutdown freeaddrinfo if_nametoindex",
    ),
    (
        "the process ends, or becomes another; or a child begins, and only its exec is waited for",
        "_exit abort exit atexit execve execvp execvpe posix_spawn posix_spawnp pidfd_spawnp \
         posix_spawn_file_actions_addchdir posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_adddup2 \
         posix_spawn_file_actions_destroy posix_spawn_file_actions_init posix_spawnattr_destroy posix_spawnattr_init \
         posix_spawnattr_setflags posix_spawnattr_setpgroup posix_spawnattr_setsigdefault",
    ),
    (
        "names and attributes of files are the file system's: nobody can wait for them, and the disk answers",
        "access chmod chown closedir dirfd faccessat fchmod fchmodat fchown fchownat fdopendir fstat fstat64 fstatat \
         fstatat64 futimens lchown link linkat lseek lseek64 lstat lstat64 mkdir mkdirat mkfifo opendir readdir64 \
         readdir64_r readlink readlinkat realpath rename renameat renameat2 rmdir rewinddir stat stat64 statx symlink \
         symlinkat telldir unlink unlinkat utimensat utimes __fxstat64 __fxstatat64 __lxstat64 __xstat64 truncate64 \
         getpwuid_r isatty ttyname_r",
    ),
    (
        "the loader's tables are in memory",
        "__cxa_finalize __dso_handle __gmon_start__ __libc_start_main __stack_chk_fail __tls_get_addr _DYNAMIC \
         _GLOBAL_OFFSET_TABLE_ _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable _dl_find_object dl_iterate_phdr \
         dladdr dlclose dlerror dlopen dlsym dlvsym __ehdr_start __rela_iplt_start __rela_iplt_end",
    ),
];

/// Calls that may wait and are not interposed: what they wait for, and the symbols. `docs/src/limits.md` lists them, too.
const MISSING: &[(&str, &str)] = &[("the disk", "ftruncate64")];

fn words(list: &'static [(&str, &str)]) -> impl Iterator<Item = &'static str> {
    list.iter().flat_map(|(_, words)| words.split_whitespace())
}

/// Returns the libraries from which this toolchain links std.
fn libraries() -> Vec<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).args(["--print", "target-libdir"]).output().expect("rustc can be run");
    assert!(said.status.success(), "rustc --print target-libdir: {}", String::from_utf8_lossy(&said.stderr));
    let dir = PathBuf::from(String::from_utf8(said.stdout).expect("a path").trim());
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let all: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rlib"))
        .collect();
    let has_std = all.iter().any(|path| path.file_name().unwrap().to_string_lossy().starts_with("libstd-"));
    assert!(has_std, "no libstd-*.rlib in {}: is the toolchain complete?", dir.display());
    all
}

/// Libraries that are not of std: arithmetic, and coverage of lines.
const APART: &[&str] = &["libcompiler_builtins-", "libprofiler_builtins-"];

/// Adds the symbols that the objects of a library define, and those that they import.
fn symbols(library: &Path, defined: &mut BTreeSet<String>, wanted: &mut BTreeMap<String, String>) {
    let bytes = std::fs::read(library).unwrap();
    let name = library.file_name().unwrap().to_string_lossy().into_owned();
    let archive = ArchiveFile::parse(&*bytes).unwrap_or_else(|error| panic!("{name} is no archive: {error}"));
    for member in archive.members() {
        let data = member.unwrap().data(&*bytes).unwrap();
        // Some members are not objects, but metadata of the compiler.
        if !data.starts_with(b"\x7fELF") {
            continue;
        }
        let object = object::File::parse(data).unwrap_or_else(|error| panic!("an object of {name}: {error}"));
        for symbol in object.symbols() {
            let Ok(symbol_name) = symbol.name() else { continue };
            // Mangled names are Rust's own.
            if symbol_name.is_empty() || symbol_name.starts_with("_ZN") || symbol_name.starts_with("_R") {
                continue;
            }
            if symbol.is_undefined() && !APART.iter().any(|apart| name.starts_with(apart)) {
                wanted.entry(symbol_name.to_owned()).or_insert_with(|| name.clone());
            } else if !symbol.is_undefined() && symbol.is_global() {
                defined.insert(symbol_name.to_owned());
            }
        }
    }
}

/// Returns whether a symbol belongs to the compiler, the unwinder or the mathematical functions, which make no system
/// calls.
fn is_computed(symbol: &str) -> bool {
    let runtime =
        ["__rust", "rust_", "_Unwind_", "__gcc_personality", "__addtf", "__divtf", "__multf", "__subtf"];
    let mathematics = [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "cos",
        "cosh",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "fdim",
        "fma",
        "fmod",
        "hypot",
        "ldexp",
        "lgamma_r",
        "log",
        "log10",
        "log1p",
        "log2",
        "pow",
        "sin",
        "sinh",
        "tan",
        "tanh",
        "tgamma",
        "ceil",
        "floor",
        "rint",
        "round",
        "roundeven",
        "sqrt",
        "trunc",
        "fmax",
        "fmin",
        "fmaximum",
        "fminimum",
        "fmaximum_num",
        "fminimum_num",
        "lgamma",
    ];
    // The suffix `f` is of single precision, `l`, `f128` and `f16` of others. `_r` comes after the `f`.
    let plain = |suffix: &str| symbol.strip_suffix(suffix).is_some_and(|stem| mathematics.contains(&stem));
    runtime.iter().any(|prefix| symbol.starts_with(prefix))
        || ["", "f", "l", "f128", "f16"].into_iter().any(plain)
        || ["lgammaf_r", "lgammaf128_r"].contains(&symbol)
}

#[test]
fn coverage_knows_every_symbol_that_std_imports() {
    let (mut defined, mut wanted) = (BTreeSet::new(), BTreeMap::new());
    libraries().iter().for_each(|library| symbols(library, &mut defined, &mut wanted));
    let covered: BTreeSet<&str> = patch::coverage().map(|one| one.symbol).collect();
    let known: BTreeSet<&str> = words(NEVER_BLOCK).chain(words(MISSING)).collect();
    assert!(wanted.contains_key("recv") && covered.contains("recv"), "no symbols were found");
    let unknown: Vec<String> = wanted
        .iter()
        .filter(|(symbol, _)| {
            let symbol = symbol.as_str();
            !defined.contains(symbol)
                && !covered.contains(symbol)
                && !known.contains(symbol)
                && !is_computed(symbol)
        })
        .map(|(symbol, library)| format!("  {symbol} (wanted by {library})"))
        .collect();
    assert!(
        unknown.is_empty(),
        "this toolchain's std calls functions of the C library that no list has:\n{}\nRead the manual page of \
         each. If it may wait, for a descriptor, a lock, a process or a time, interpose it in src/patch, with a line in \
         the COVERAGE of its file; or put it into MISSING here and into docs/src/limits.md. If it cannot, put it into \
         NEVER_BLOCK here, where the reason fits.",
        unknown.join("\n")
    );
}

#[test]
fn coverage_lists_each_symbol_once() {
    let mut seen = BTreeSet::new();
    for symbol in patch::coverage().map(|one| one.symbol).chain(words(NEVER_BLOCK)).chain(words(MISSING)) {
        assert!(
            seen.insert(symbol),
            "{symbol} is listed twice: in COVERAGE (src/patch), or there and in the lists of this test; take one out"
        );
    }
}

/// Returns the file that an address is in.
fn file_of(address: *const ()) -> Option<String> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the call accepts any address. The information is filled in, with a name that stays.
    unsafe {
        (libc::dladdr(address.cast(), info.as_mut_ptr()) != 0)
            .then(|| CStr::from_ptr(info.assume_init().dli_fname).to_string_lossy().into_owned())
    }
}

#[test]
fn coverage_symbols_resolve_to_this_executable() {
    // This call links all of the patch.
    patch::all();
    let here = file_of(file_of as *const ()).expect("this function is in the executable");
    for covered in patch::coverage() {
        let name = CString::new(covered.symbol).unwrap();
        // SAFETY: the names end in 0.
        let (found, next) = unsafe {
            (libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()), libc::dlsym(libc::RTLD_NEXT, name.as_ptr()))
        };
        // An older C library may not have the symbol at all. Then no library can import it.
        assert!(
            file_of(found as *const ()).as_ref() == Some(&here) || next.is_null(),
            "{} is in COVERAGE, and calls to it go to {:?}: is it defined, with #[unsafe(no_mangle)], in src/patch?",
            covered.symbol,
            file_of(found as *const ())
        );
    }
}

/// Returns the table in the documentation of `patch::coverage`.
fn table() -> String {
    let mut table = String::from("| symbol | patched by | called by | when patched |\n|---|---|---|---|\n");
    for Covered { symbol, kind, called_by, when_patched, .. } in patch::coverage() {
        table += &format!("| `{symbol}` | `{kind:?}` | {called_by} | {when_patched} |\n");
    }
    table
}

#[test]
fn coverage_table_in_the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/patch/coverage.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, table()).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == table(),
        "src/patch/coverage.md differs from patch::coverage(); write it again by \
         UPDATE=1 cargo test --test coverage"
    );
}

//! Installing a scheduling policy.
//!
//! Next: `policy/mod.rs`, what a policy is.

use crate::api::current_hub::current_hub;
use crate::policy::Policy;

/// Makes `policy` choose which green thread of this OS thread's hub runs next, from now on.
///
/// The hub first calls [`Policy::spawned`] for each green thread that is alive, the root included. Then it calls
/// [`Policy::ready`] for those that are ready, in the order in which the policy before would have run them.
///
/// The policy before is dropped, in the calling green thread.
pub fn install_policy(policy: impl Policy + 'static) {
    current_hub().install(Box::new(policy));
}

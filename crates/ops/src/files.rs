//! How many files a process may have open at once, connections among them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as this process is allowed to have, after it has asked for all that it may have: supervisors mostly start
/// services with 1,024, for programs that cannot deal with more, and let them raise that themselves.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // `None` is no limit.
    (if raised.is_ok() { maximum } else { current }).unwrap_or(u64::MAX)
}

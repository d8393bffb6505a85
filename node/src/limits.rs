use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process open as many files as it may: many systems begin with 1,024, and a store keeps the files of 1,024
/// entries open, two for each. A refusal costs nothing now; who runs out later is told by the error.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::info!(%error, limit = ?limit.current, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_opened_can_be() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

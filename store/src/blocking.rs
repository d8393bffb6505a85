use std::io;

/// Runs `job` on a blocking thread. A caller that goes away does not stop it: what was begun is finished, so a chunk is
/// never left half recorded by a cancelled request.
pub(crate) async fn blocking<T, E>(job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(io::Error::other("the runtime is shutting down").into()),
        },
    }
}

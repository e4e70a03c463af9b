//! Work that goes on when the one who asked for it has gone: half a copy helps nobody. Main function: [`finish`].

use crate::failure::Failure;

/// Does it on a task of its own, and waits for that.
pub(crate) async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => Err(Failure::Stopping),
    }
}

//! The context that kernels run in: torch's own.

use std::ffi::c_int;
use std::sync::OnceLock;

use super::driver::{Context, Driver};
use super::error::CudaError;

/// A device's primary context, retained when first entered. Looking at a device needs none, which
/// matters: a context takes hundreds of megabytes of the device's memory.
#[derive(Default)]
pub(crate) struct PrimaryContext(OnceLock<Context>);

impl PrimaryContext {
    /// Runs a job with the context current in this thread, and leaves the thread as it was.
    pub fn enter<R, E: From<CudaError>>(
        &self,
        driver: &Driver,
        device: c_int,
        job: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let context = match self.0.get() {
            Some(context) => *context,
            None => {
                let context = driver.retain(device)?;
                *self.0.get_or_init(|| context)
            }
        };
        driver.push(context)?;
        let outcome = job();
        let popped = driver.pop();
        let value = outcome?;
        popped?;
        Ok(value)
    }
}

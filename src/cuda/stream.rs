//! Launches: a kernel, how much work there is, and what it takes.

use super::device::{Device, device};
use super::driver::Shape;
use super::error::CudaError;
use super::kernel::Kernel;
use super::module::Loaded;
use super::sources::Unit;

/// A stream of a device, both as torch has them.
#[derive(Clone, Copy)]
pub struct Stream {
    pub(crate) device: &'static Device,
    handle: u64,
}

impl Stream {
    /// A stream of a device. Nothing happens on the device.
    ///
    /// # Safety
    /// `handle` is a stream of the device's primary context, or 0 for its default stream, and lives
    /// as long as this is used.
    ///
    /// # Errors
    /// If there is no driver, or no such device.
    pub unsafe fn new(ordinal: usize, handle: u64) -> Result<Self, CudaError> {
        Ok(Self { device: device(ordinal)?, handle })
    }

    /// Loads a unit, if it was not.
    pub(crate) fn load(&self, unit: Unit) -> Result<&'static Loaded, CudaError> {
        self.device.enter(|driver| {
            // SAFETY: whoever made the stream promised that it is the device's.
            unsafe { self.device.units.get(self.device, driver, unit, self.handle) }
        })
    }

    /// Launches a kernel over some blocks of work. A persistent kernel gets at most as many blocks
    /// as the device holds at a time.
    ///
    /// # Safety
    /// `A` is what the kernel takes. Its addresses are the device's, of arrays as large as the
    /// kernel expects, that stay until the stream has come past the kernel.
    pub(crate) unsafe fn launch<A>(
        &self,
        kernel: Kernel,
        work: u64,
        arguments: &A,
    ) -> Result<(), CudaError> {
        if work == 0 {
            return Ok(());
        }
        self.device.enter(|driver| {
            // SAFETY: whoever made the stream promised that it is the device's.
            let unit =
                unsafe { self.device.units.get(self.device, driver, kernel.unit(), self.handle) }?;
            let no_room = CudaError::NoRoom { device: self.device.ordinal, kernel: kernel.name() };
            let Some(ready) = unit.ready(kernel).filter(|ready| ready.resident > 0) else {
                return Err(no_room);
            };
            let most = if kernel.persistent() { ready.resident } else { i32::MAX as u32 };
            let blocks = u32::try_from(work).map_or(most, |work| work.min(most));
            let shape = Shape { blocks, block: kernel.block() };
            // SAFETY: the caller's promise, and the stream's.
            unsafe { driver.launch(ready.function, shape, self.handle, arguments) }
        })
    }
}

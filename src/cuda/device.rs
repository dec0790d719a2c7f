//! The devices of this machine: what they can, and what of theirs is kept.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{PoisonError, RwLock};

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::context::PrimaryContext;
use super::driver::{Driver, driver};
use super::error::CudaError;
use super::module::Units;
use super::plan::Limits;
use super::sources::Architecture;

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Its name.
    pub name: String,
    /// Its compute capability, as major and minor.
    pub capability: (u32, u32),
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// What the row-resident kernel must fit.
    pub limits: Limits,
    /// Bytes of memory.
    pub memory: usize,
}

impl Properties {
    fn of(driver: &Driver, handle: c_int) -> Result<Self, CudaError> {
        let get = |attribute| driver.attribute(handle, attribute);
        let capability = (
            get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        Ok(Self {
            name: driver.name(handle)?,
            capability,
            multiprocessors: get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            limits: Limits {
                clusters: get(Attribute::CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH)? != 0,
                shared_a_block: get(
                    Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                )?,
                shared_a_multiprocessor: get(
                    Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
                )?,
                // A device without an architecture of its own launches nothing.
                most_held: Architecture::of_capability(capability)
                    .map_or(0, Architecture::most_held),
            },
            memory: driver.memory(handle)?,
        })
    }
}

/// A device in use by this process.
pub(crate) struct Device {
    pub ordinal: usize,
    pub properties: Properties,
    handle: c_int,
    context: PrimaryContext,
    /// The kernels loaded into its context.
    pub units: Units,
}

/// Devices are kept for good, as their contexts are.
static DEVICES: RwLock<BTreeMap<usize, &'static Device>> = RwLock::new(BTreeMap::new());

/// The device of a number, as torch counts them.
///
/// # Errors
/// If there is no driver, or no such device.
pub(crate) fn device(ordinal: usize) -> Result<&'static Device, CudaError> {
    // Also refuses to go on in a fork.
    let driver = driver()?;
    let known = DEVICES.read().unwrap_or_else(PoisonError::into_inner).get(&ordinal).copied();
    if let Some(device) = known {
        return Ok(device);
    }
    let devices = driver.device_count()?;
    if ordinal >= devices {
        return Err(CudaError::NoDevice { device: ordinal, devices });
    }
    let mut all = DEVICES.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = all.get(&ordinal) {
        return Ok(device);
    }
    let handle = driver.device(ordinal).map_err(|error| error.on(ordinal))?;
    let properties = Properties::of(driver, handle).map_err(|error| error.on(ordinal))?;
    let (context, units) = (PrimaryContext::default(), Units::default());
    let device = Box::leak(Box::new(Device { ordinal, properties, handle, context, units }));
    all.insert(ordinal, device);
    Ok(device)
}

impl Device {
    /// The architecture whose images it runs.
    pub fn architecture(&self) -> Result<Architecture, CudaError> {
        let (device, capability) = (self.ordinal, self.properties.capability);
        Architecture::of_capability(capability)
            .ok_or(CudaError::Architecture { device, capability })
    }

    /// Runs a job in the device's context. Errors of the driver come back with the device's number.
    pub fn enter<R>(
        &self,
        job: impl FnOnce(&'static Driver) -> Result<R, CudaError>,
    ) -> Result<R, CudaError> {
        let driver = driver()?;
        self.context
            .enter(driver, self.handle, || job(driver))
            .map_err(|error: CudaError| error.on(self.ordinal))
    }
}

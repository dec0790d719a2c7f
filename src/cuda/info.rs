//! What there is: driver, devices, compiler, folders, and which kernels are loaded from where.

use std::path::PathBuf;

use super::device::{Properties, device};
use super::driver::driver;
use super::error::CudaError;
use super::fused;
use super::module::Origin;
use super::nvrtc::Nvrtc;
use super::places::{Places, places};
use super::plan::{FusedPlan, plan};
use super::sources::{Architecture, Unit};
use super::stream::Stream;
use super::view::Element;
use crate::error::Result;

/// A unit that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitInfo {
    /// Its name.
    pub name: String,
    /// Where it is from.
    pub origin: Origin,
    /// Files of its name that could not be used, and why.
    pub passed_over: Vec<String>,
    /// Its kernels.
    pub kernels: Vec<KernelInfo>,
}

/// A kernel that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInfo {
    /// Its name.
    pub name: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread that found no register.
    pub spilled: u32,
    /// Blocks that the device holds at a time.
    pub resident: u32,
}

/// A device, and what is loaded on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What it is.
    pub properties: Properties,
    /// The architecture whose images it runs, if there is one.
    pub architecture: Option<Architecture>,
    /// What is loaded.
    pub units: Vec<UnitInfo>,
}

/// The version of the driver, and how many devices it shows to this process.
///
/// # Errors
/// What is missing, or which call was refused.
pub fn versions() -> std::result::Result<((u32, u32), usize), CudaError> {
    let driver = driver()?;
    Ok((driver.version(), driver.device_count()?))
}

/// What a device is, and what is loaded on it. Looking makes no context.
///
/// # Errors
/// If there is no driver, or no such device.
pub fn device_info(ordinal: usize) -> std::result::Result<DeviceInfo, CudaError> {
    let device = device(ordinal)?;
    let units = device.units.all().into_iter();
    Ok(DeviceInfo {
        properties: device.properties.clone(),
        architecture: device.architecture().ok(),
        units: units.map(|(unit, loaded)| unit_info(unit, loaded)).collect(),
    })
}

fn unit_info(unit: Unit, loaded: &super::module::Loaded) -> UnitInfo {
    let kernels = loaded.kernels.iter();
    UnitInfo {
        name: unit.name(),
        origin: loaded.origin.clone(),
        passed_over: loaded.passed_over.clone(),
        kernels: kernels
            .map(|ready| KernelInfo {
                name: ready.kernel.name(),
                registers: ready.registers,
                spilled: ready.spilled,
                resident: ready.resident,
            })
            .collect(),
    }
}

/// The compiler that would be used: its version and where it lies.
///
/// # Errors
/// What was wrong with each place.
pub fn compiler() -> std::result::Result<((u32, u32), PathBuf), CudaError> {
    let newest = driver().map(|driver| driver.version()).ok();
    let nvrtc = Nvrtc::open(&places().compilers(), newest)?;
    Ok((nvrtc.version, nvrtc.file))
}

/// The plan of the row-resident kernel for a device, or why there is none.
///
/// # Errors
/// If there is no driver, or no such device.
pub fn device_plan(
    ordinal: usize,
    vocabulary: u64,
    element: Element,
) -> std::result::Result<std::result::Result<FusedPlan, String>, CudaError> {
    Ok(plan(vocabulary, element, device(ordinal)?.properties.limits))
}

/// What a device is ready for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What was loaded for it, or had been.
    pub units: Vec<UnitInfo>,
    /// How the row-resident kernel is cut, or why other kernels do its work.
    pub plan: std::result::Result<FusedPlan, String>,
}

/// Loads all kernels that a vocabulary needs on a device, so that none is loaded later.
///
/// # Errors
/// If there is no such device, or a unit can not be had.
pub fn prepare(ordinal: usize, vocabulary: u64, element: Element) -> Result<Prepared> {
    // SAFETY: 0 is the default stream of any device.
    let stream = unsafe { Stream::new(ordinal, 0) }?;
    let load = |unit| -> Result<UnitInfo> { Ok(unit_info(unit, stream.load(unit)?)) };
    let mut units = Unit::COMMON.into_iter().map(load).collect::<Result<Vec<_>>>()?;
    let mut plan = plan(vocabulary, element, stream.device.properties.limits);
    if let Ok(fitting) = plan {
        match fused::obstacle_of_plan(&stream, fitting, element)? {
            Some(reason) => plan = Err(reason),
            None => units.push(load(Unit::Fused(fitting, element))?),
        }
    }
    Ok(Prepared { units, plan })
}

/// Where images and compilers are looked for.
pub fn searched() -> Places {
    let places = places();
    Places { cache: places.cache_folder(), nvrtc: places.compilers(), ..places }
}

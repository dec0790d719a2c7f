//! The one place where images become kernels. A unit is loaded into a device's context when it is
//! first needed, and stays.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use cudarc::driver::sys::CUfunction_attribute as Attribute;

use super::cache;
use super::device::Device;
use super::driver::{Driver, Function, Module, Shape};
use super::error::CudaError;
use super::image::Image;
use super::kernel::Kernel;
use super::nvrtc::{Input, Nvrtc, Output};
use super::places::places;
use super::sources::{Architecture, Unit};

/// Blocks may have more shared memory than this, but have to ask.
const UNASKED_SHARED: u32 = 48 * 1024;

/// A kernel that can be launched.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub kernel: Kernel,
    pub function: Function,
    /// How many of its blocks the device holds at a time.
    pub resident: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread that found no register.
    pub spilled: u32,
}

/// Where an image is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Came with the package.
    Prebuilt(PathBuf),
    /// Was compiled by an earlier process.
    Cached(PathBuf),
    /// Was compiled by this process.
    Compiled {
        /// By which compiler.
        compiler: String,
        /// Why it was not kept for the next process, if so.
        not_kept: Option<String>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prebuilt(file) => write!(f, "prebuilt: {}", file.display()),
            Self::Cached(file) => write!(f, "cached: {}", file.display()),
            Self::Compiled { compiler, not_kept: None } => write!(f, "compiled by {compiler}"),
            Self::Compiled { compiler, not_kept: Some(why) } => {
                write!(f, "compiled by {compiler}, not cached: {why}")
            }
        }
    }
}

/// A unit in a device's context.
pub(crate) struct Loaded {
    pub kernels: Vec<Ready>,
    pub origin: Origin,
    /// Files of this unit's name that could not be used, and why.
    pub passed_over: Vec<String>,
}

impl Loaded {
    /// A kernel of the unit.
    pub fn ready(&self, kernel: Kernel) -> Option<&Ready> {
        self.kernels.iter().find(|ready| ready.kernel == kernel)
    }
}

/// The units of a device.
#[derive(Default)]
pub(crate) struct Units {
    loaded: RwLock<HashMap<Unit, &'static Loaded>>,
    /// Held while a unit is loaded, so that no two threads compile the same; launches go on.
    loading: Mutex<()>,
}

impl Units {
    fn known(&self, unit: Unit) -> Option<&'static Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).get(&unit).copied()
    }

    /// All that are loaded, in the order of their names.
    pub fn all(&self) -> Vec<(Unit, &'static Loaded)> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = loaded.iter().map(|(unit, loaded)| (*unit, *loaded)).collect();
        all.sort_by_key(|(unit, _)| unit.name());
        all
    }

    /// A unit, loaded if it was not. The device's context is current.
    ///
    /// # Safety
    /// `stream` is a stream of the device.
    pub unsafe fn get(
        &self,
        device: &Device,
        driver: &Driver,
        unit: Unit,
        stream: u64,
    ) -> Result<&'static Loaded, CudaError> {
        if let Some(loaded) = self.known(unit) {
            return Ok(loaded);
        }
        // SAFETY: the caller's promise.
        if unsafe { driver.is_capturing(stream) }? {
            return Err(CudaError::Capturing { device: device.ordinal, unit: unit.name() });
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = self.known(unit) {
            return Ok(loaded);
        }
        let loaded: &'static Loaded = Box::leak(Box::new(load(device, driver, unit)?));
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(unit, loaded);
        Ok(loaded)
    }
}

/// Loads a unit from the first file that holds a usable image, or else compiles one.
fn load(device: &Device, driver: &Driver, unit: Unit) -> Result<Loaded, CudaError> {
    let architecture = device.architecture()?;
    let places = places();
    let name = unit.image_name(architecture);
    let (mut passed_over, mut absent) = (Vec::new(), Vec::new());
    for (prebuilt, file) in places.files(&name) {
        let load = |image: Image| driver.load(&image.code).map_err(|error| error.to_string());
        match cache::read(&file, driver.version()).and_then(|image| image.map(load).transpose()) {
            Ok(Some(module)) => {
                let kernels = ready(device, driver, module, unit)?;
                let origin = if prebuilt { Origin::Prebuilt(file) } else { Origin::Cached(file) };
                return Ok(Loaded { kernels, origin, passed_over });
            }
            Ok(None) => absent.push(format!("{}: no such file", file.display())),
            Err(why) => passed_over.push(format!("{}: {why}", file.display())),
        }
    }
    let (image, compiler) = match Nvrtc::open(&places.compilers(), Some(driver.version())) {
        Ok(nvrtc) => (compile(&nvrtc, unit, architecture)?, nvrtc.name()),
        Err(CudaError::NoCompiler { tried }) => {
            return Err(CudaError::NoImage {
                unit: unit.name(),
                arch: architecture.name(),
                passed_over: [passed_over, absent].concat().join("; "),
                compiler: tried,
            });
        }
        Err(error) => return Err(error),
    };
    let kernels = ready(device, driver, driver.load(&image.code)?, unit)?;
    let kept = match places.cache_folder() {
        Some(folder) => cache::write(&folder, &name, &image)
            .map_err(|error| format!("{}: {error}", folder.display())),
        None => Err("there is no home folder, and ICPO_CACHE_DIR is not set".into()),
    };
    let origin = Origin::Compiled { compiler, not_kept: kept.err() };
    Ok(Loaded { kernels, origin, passed_over })
}

fn compile(nvrtc: &Nvrtc, unit: Unit, architecture: Architecture) -> Result<Image, CudaError> {
    let options = unit.options(architecture);
    let input = Input { main: unit.source(), headers: unit.headers(), options: &options };
    match nvrtc.compile(&input)? {
        Output { image: Some(image), .. } => Ok(image),
        Output { image: None, log } => Err(CudaError::Compile {
            unit: unit.name(),
            options: options.join(" "),
            compiler: nvrtc.name(),
            log,
        }),
    }
}

/// Finds and sets up all kernels of a module, or unloads it.
fn ready(
    device: &Device,
    driver: &Driver,
    module: Module,
    unit: Unit,
) -> Result<Vec<Ready>, CudaError> {
    let kernels = unit.kernels().into_iter();
    let ready: Result<Vec<Ready>, CudaError> =
        kernels.map(|kernel| set_up(device, driver, module, kernel)).collect();
    if ready.is_err() {
        // The first error is the one to report.
        let _ = driver.unload(module);
    }
    ready
}

fn set_up(
    device: &Device,
    driver: &Driver,
    module: Module,
    kernel: Kernel,
) -> Result<Ready, CudaError> {
    let function = driver.function(module, kernel.symbol())?;
    let block = kernel.block();
    if block.shared > UNASKED_SHARED {
        driver.allow_shared(function, block.shared)?;
    }
    let shape = Shape { blocks: block.cluster, block };
    let resident = match block.cluster {
        1 => driver.resident_blocks(function, shape)? * device.properties.multiprocessors,
        cluster => driver.resident_clusters(function, shape)? * cluster,
    };
    let attribute = |attribute| driver.function_attribute(function, attribute);
    Ok(Ready {
        kernel,
        function,
        resident,
        registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        spilled: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
    })
}

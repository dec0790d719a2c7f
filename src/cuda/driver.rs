//! The driver's library: opened when first asked for, each call checked.
//!
//! cudarc names the types. Its functions are not called: they panic where the library or a symbol
//! is missing, and their result is an enumeration that a newer driver's codes fall out of.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys;
use libloading::Library;

use super::error::CudaError;
use super::kernel::Block;

/// What torch opens; the second name is that of systems with their own ideas.
const NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Clusters, and the launches that take them, are older; the rest of the package is not.
const OLDEST: (u32, u32) = (12, 0);

/// Declares the driver's functions once: the table of addresses, how it is filled, and a checked
/// call for each.
macro_rules! functions {
    ($($call:ident = $symbol:literal ($($argument:ident: $type:ty),*);)*) => {
        struct Functions {
            $($call: unsafe extern "C" fn($($type),*) -> c_int,)*
            error_name: Words,
            error_about: Words,
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, CudaError> {
                Ok(Self {
                    // SAFETY: the driver documents its functions with these types.
                    $($call: unsafe { symbol(library, $symbol) }?,)*
                    // SAFETY: as above.
                    error_name: unsafe { symbol(library, "cuGetErrorName") }?,
                    // SAFETY: as above.
                    error_about: unsafe { symbol(library, "cuGetErrorString") }?,
                })
            }
        }

        impl Driver {
            $(unsafe fn $call(&self, $($argument: $type),*) -> Result<(), CudaError> {
                // SAFETY: the caller's promise.
                self.check($symbol, unsafe { (self.functions.$call)($($argument),*) })
            })*
        }
    };
}

functions! {
    init = "cuInit"(flags: c_uint);
    driver_get_version = "cuDriverGetVersion"(version: *mut c_int);
    device_get_count = "cuDeviceGetCount"(count: *mut c_int);
    device_get = "cuDeviceGet"(device: *mut c_int, ordinal: c_int);
    device_get_name = "cuDeviceGetName"(name: *mut c_char, length: c_int, device: c_int);
    device_get_attribute = "cuDeviceGetAttribute"(
        value: *mut c_int, attribute: c_uint, device: c_int
    );
    device_total_mem = "cuDeviceTotalMem_v2"(bytes: *mut usize, device: c_int);
    primary_ctx_retain = "cuDevicePrimaryCtxRetain"(
        context: *mut sys::CUcontext, device: c_int
    );
    ctx_push_current = "cuCtxPushCurrent_v2"(context: sys::CUcontext);
    ctx_pop_current = "cuCtxPopCurrent_v2"(context: *mut sys::CUcontext);
    stream_is_capturing = "cuStreamIsCapturing"(stream: sys::CUstream, status: *mut c_int);
    module_load_data = "cuModuleLoadData"(module: *mut sys::CUmodule, image: *const c_void);
    module_unload = "cuModuleUnload"(module: sys::CUmodule);
    module_get_function = "cuModuleGetFunction"(
        function: *mut sys::CUfunction, module: sys::CUmodule, name: *const c_char
    );
    func_set_attribute = "cuFuncSetAttribute"(
        function: sys::CUfunction, attribute: c_uint, value: c_int
    );
    func_get_attribute = "cuFuncGetAttribute"(
        value: *mut c_int, attribute: c_uint, function: sys::CUfunction
    );
    occupancy_max_active_blocks = "cuOccupancyMaxActiveBlocksPerMultiprocessor"(
        blocks: *mut c_int, function: sys::CUfunction, threads: c_int, shared: usize
    );
    occupancy_max_active_clusters = "cuOccupancyMaxActiveClusters"(
        clusters: *mut c_int, function: sys::CUfunction, config: *const sys::CUlaunchConfig
    );
    launch_kernel_ex = "cuLaunchKernelEx"(
        config: *const sys::CUlaunchConfig, function: sys::CUfunction,
        parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
}

/// Gives words for a code.
type Words = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;

/// A driver that answers.
pub(crate) struct Driver {
    functions: Functions,
    /// The functions lie in it.
    _library: Library,
    version: (u32, u32),
    /// The process that started it. A fork of that process can not use it.
    process: u32,
}

/// A device's primary context, the one that torch uses.
#[derive(Clone, Copy)]
pub(crate) struct Context(sys::CUcontext);

/// A loaded image.
#[derive(Clone, Copy)]
pub(crate) struct Module(sys::CUmodule);

/// A kernel of a loaded image.
#[derive(Clone, Copy)]
pub(crate) struct Function(sys::CUfunction);

// SAFETY: the driver allows each thread to use each of these handles.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// How many blocks a kernel is launched with, and of what shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub blocks: u32,
    pub block: Block,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// The driver, started if it was not. A failure is not remembered: the next call tries again.
///
/// # Errors
/// What is missing, or which call it refused.
pub(crate) fn driver() -> Result<&'static Driver, CudaError> {
    let driver = match DRIVER.get() {
        Some(driver) => driver,
        None => {
            let driver = Driver::start()?;
            DRIVER.get_or_init(|| driver)
        }
    };
    if driver.process == std::process::id() { Ok(driver) } else { Err(CudaError::Forked) }
}

impl Driver {
    fn start() -> Result<Self, CudaError> {
        let library = open()?;
        let functions = Functions::find(&library)?;
        let process = std::process::id();
        let mut driver = Self { functions, _library: library, version: (0, 0), process };
        let mut version = 0;
        // SAFETY: the pointer is to a live integer.
        unsafe {
            driver.init(0)?;
            driver.driver_get_version(&mut version)?;
        }
        let version = u32::try_from(version).unwrap_or(0);
        driver.version = (version / 1000, version % 1000 / 10);
        if driver.version < OLDEST {
            return Err(CudaError::OldDriver { version: driver.version });
        }
        Ok(driver)
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        let name = words(self.functions.error_name, code);
        let about = words(self.functions.error_about, code);
        Err(CudaError::Refused { call, code, name, about, device: None })
    }

    /// The CUDA version that it supports.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    pub fn device_count(&self) -> Result<usize, CudaError> {
        let mut count = 0;
        // SAFETY: the pointer is to a live integer.
        unsafe { self.device_get_count(&mut count) }?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The driver's handle of a device.
    pub fn device(&self, ordinal: usize) -> Result<c_int, CudaError> {
        let mut device = 0;
        let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        // SAFETY: the pointer is to a live integer.
        unsafe { self.device_get(&mut device, ordinal) }?;
        Ok(device)
    }

    pub fn name(&self, device: c_int) -> Result<String, CudaError> {
        let mut name = [0 as c_char; 256];
        // SAFETY: the driver writes no more than the length, with a zero at the end.
        unsafe {
            self.device_get_name(name.as_mut_ptr(), name.len() as c_int, device)?;
            Ok(CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
        }
    }

    pub fn attribute(
        &self,
        device: c_int,
        attribute: sys::CUdevice_attribute,
    ) -> Result<u32, CudaError> {
        let mut value = 0;
        // SAFETY: the pointer is to a live integer.
        unsafe { self.device_get_attribute(&mut value, attribute as c_uint, device) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    pub fn memory(&self, device: c_int) -> Result<usize, CudaError> {
        let mut bytes = 0;
        // SAFETY: the pointer is to a live integer.
        unsafe { self.device_total_mem(&mut bytes, device) }?;
        Ok(bytes)
    }

    /// The primary context of a device, never given back: it is to live as long as torch's.
    pub fn retain(&self, device: c_int) -> Result<Context, CudaError> {
        let mut context = std::ptr::null_mut();
        // SAFETY: the pointer is to a live pointer.
        unsafe { self.primary_ctx_retain(&mut context, device) }?;
        Ok(Context(context))
    }

    pub fn push(&self, context: Context) -> Result<(), CudaError> {
        // SAFETY: contexts are retained for good.
        unsafe { self.ctx_push_current(context.0) }
    }

    pub fn pop(&self) -> Result<(), CudaError> {
        let mut context = std::ptr::null_mut();
        // SAFETY: the pointer is to a live pointer.
        unsafe { self.ctx_pop_current(&mut context) }
    }

    /// Whether a stream captures a graph.
    ///
    /// # Safety
    /// `stream` is a stream of the current context.
    pub unsafe fn is_capturing(&self, stream: u64) -> Result<bool, CudaError> {
        let mut status = 0;
        // SAFETY: the pointer is to a live integer; the stream is the caller's promise.
        unsafe { self.stream_is_capturing(stream as sys::CUstream, &mut status) }?;
        Ok(status != 0)
    }

    /// Loads an image into the current context. The driver copies what it needs of it.
    pub fn load(&self, image: &[u8]) -> Result<Module, CudaError> {
        let mut module = std::ptr::null_mut();
        // SAFETY: the image states its own size in its first bytes, and its integrity was checked.
        unsafe { self.module_load_data(&mut module, image.as_ptr().cast()) }?;
        Ok(Module(module))
    }

    /// Unloads a module, none of whose functions is used again.
    pub fn unload(&self, module: Module) -> Result<(), CudaError> {
        // SAFETY: the module was loaded; it is not used again.
        unsafe { self.module_unload(module.0) }
    }

    pub fn function(&self, module: Module, name: &'static CStr) -> Result<Function, CudaError> {
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, the name ends in zero.
        unsafe { self.module_get_function(&mut function, module.0, name.as_ptr()) }?;
        Ok(Function(function))
    }

    /// Allows a function's blocks this much shared memory.
    pub fn allow_shared(&self, function: Function, bytes: u32) -> Result<(), CudaError> {
        use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        // SAFETY: the function's module is loaded.
        unsafe { self.func_set_attribute(function.0, MOST as c_uint, bytes) }
    }

    pub fn function_attribute(
        &self,
        function: Function,
        attribute: sys::CUfunction_attribute,
    ) -> Result<u32, CudaError> {
        let mut value = 0;
        // SAFETY: the pointer is to a live integer, the function's module is loaded.
        unsafe { self.func_get_attribute(&mut value, attribute as c_uint, function.0) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// How many blocks fit a multiprocessor at a time.
    pub fn resident_blocks(&self, function: Function, shape: Shape) -> Result<u32, CudaError> {
        let mut blocks = 0;
        let (threads, shared) = (shape.block.threads as c_int, shape.block.shared as usize);
        // SAFETY: the pointer is to a live integer, the function's module is loaded.
        unsafe { self.occupancy_max_active_blocks(&mut blocks, function.0, threads, shared) }?;
        Ok(u32::try_from(blocks).unwrap_or(0))
    }

    /// How many clusters fit the device at a time.
    pub fn resident_clusters(&self, function: Function, shape: Shape) -> Result<u32, CudaError> {
        let mut clusters = 0;
        with_config(shape, 0, |config| {
            // SAFETY: the pointers are to live values, the function's module is loaded.
            unsafe { self.occupancy_max_active_clusters(&mut clusters, function.0, config) }
        })?;
        Ok(u32::try_from(clusters).unwrap_or(0))
    }

    /// Puts a kernel onto a stream of the current context.
    ///
    /// # Safety
    /// `A` is what the kernel takes, and all memory that it tells of is the device's, as large as
    /// the kernel expects, and stays until the stream has come past the kernel.
    pub unsafe fn launch<A>(
        &self,
        function: Function,
        shape: Shape,
        stream: u64,
        arguments: &A,
    ) -> Result<(), CudaError> {
        let mut parameters = [std::ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        with_config(shape, stream, |config| {
            // SAFETY: the driver copies the arguments during the call; the rest is promised.
            unsafe {
                let (parameters, extra) = (parameters.as_mut_ptr(), std::ptr::null_mut());
                self.launch_kernel_ex(config, function.0, parameters, extra)
            }
        })
    }
}

/// A function of a library.
///
/// # Safety
/// `T` is the function's type.
unsafe fn symbol<T: Copy>(library: &Library, symbol: &'static str) -> Result<T, CudaError> {
    // SAFETY: the caller's promise.
    let found = unsafe { library.get::<T>(symbol.as_bytes()) };
    found.map(|found| *found).map_err(|_| CudaError::NoSymbol { symbol })
}

fn words(ask: Words, code: c_int) -> String {
    let mut text = std::ptr::null();
    // SAFETY: the pointer is to a live pointer; what the driver puts there is its own text, which
    // stays, or null where it does not know the code.
    unsafe {
        ask(code, &mut text);
        if text.is_null() {
            return "a code that the driver does not know".into();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// What a loader says: the words that help are in the cause of its error.
pub(crate) fn loader_says(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn open() -> Result<Library, CudaError> {
    let mut tried = Vec::new();
    for name in NAMES {
        // SAFETY: the driver's library is made to be opened by any program.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) => tried.push(loader_says(&error)),
        }
    }
    Err(CudaError::NoLibrary { tried: tried.join("; ") })
}

/// Hands a shape to `then` as the driver takes it.
fn with_config<R>(shape: Shape, stream: u64, then: impl FnOnce(&sys::CUlaunchConfig) -> R) -> R {
    use sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
    value.clusterDim =
        sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: shape.block.cluster, y: 1, z: 1 };
    let id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    let mut cluster = sys::CUlaunchAttribute { id, pad: [0; 4], value };
    then(&sys::CUlaunchConfig {
        gridDimX: shape.blocks,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: shape.block.threads,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shape.block.shared,
        hStream: stream as sys::CUstream,
        attrs: &mut cluster,
        // Devices before sm_90 do not know the attribute.
        numAttrs: u32::from(shape.block.cluster > 1),
    })
}

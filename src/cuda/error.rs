//! What can go wrong between this crate and a device.

use thiserror::Error;

/// Why a device could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library can not be opened.
    #[error("the CUDA driver's library can not be opened ({tried}); is a driver installed?")]
    NoLibrary {
        /// Each name, and what the loader said of it.
        tried: String,
    },

    /// The driver's library lacks a function.
    #[error("the CUDA driver lacks {symbol}: expected a driver of CUDA 12.0 or newer")]
    NoSymbol {
        /// Its name.
        symbol: &'static str,
    },

    /// The driver is older than what the kernels need.
    #[error(
        "expected a driver of CUDA 12.0 or newer, got one of CUDA {}.{}", .version.0, .version.1
    )]
    OldDriver {
        /// The CUDA version that it supports.
        version: (u32, u32),
    },

    /// The driver refused a call.
    #[error("{call}{}: {name} ({code}), {about}", on_device(*.device))]
    Refused {
        /// The call.
        call: &'static str,
        /// The driver's code.
        code: i32,
        /// Its name.
        name: String,
        /// What the driver says of it.
        about: String,
        /// The device, where the call was about one.
        device: Option<usize>,
    },

    /// A device that does not exist.
    #[error("device: expected the number of one of {devices} CUDA devices, got {device}")]
    NoDevice {
        /// The number that came.
        device: usize,
        /// How many devices this process may use.
        devices: usize,
    },

    /// A device that no kernels were written for.
    #[error(
        "device {device}: expected compute capability 8.x, 9.x, 10.x or 12.x, got {}.{}",
        .capability.0, .capability.1
    )]
    Architecture {
        /// The device.
        device: usize,
        /// Its compute capability.
        capability: (u32, u32),
    },

    /// This process is a fork of one that used CUDA.
    #[error(
        "CUDA can not be used in a process forked from one that used it; start workers with the \
         method 'spawn'"
    )]
    Forked,

    /// Kernels would have to be loaded while a graph is captured.
    #[error(
        "device {device}: the kernels of {unit} are not loaded, and can not be while the stream \
         captures a graph; call icpo.prepare(...) before capturing"
    )]
    Capturing {
        /// The device.
        device: usize,
        /// The compile unit.
        unit: String,
    },

    /// No image of a compile unit fits, and there is no compiler to make one.
    #[error("no image of {unit} for {arch} ({passed_over}), and no compiler: {compiler}")]
    NoImage {
        /// The compile unit.
        unit: String,
        /// The architecture.
        arch: &'static str,
        /// Where images were looked for, and what was wrong with them.
        passed_over: String,
        /// Why there is no compiler.
        compiler: String,
    },

    /// NVRTC can not be opened, or not be used with this driver.
    #[error("NVRTC, the CUDA compiler, can not be used: {tried}")]
    NoCompiler {
        /// Each place, and what was wrong there.
        tried: String,
    },

    /// NVRTC refused a call.
    #[error("{call}: {about} ({code})")]
    Compiler {
        /// The call.
        call: &'static str,
        /// NVRTC's code.
        code: i32,
        /// What NVRTC says of it.
        about: String,
    },

    /// The compiler refused a source.
    #[error("{unit} does not compile with {compiler} and {options}:\n{log}")]
    Compile {
        /// The compile unit, or its file.
        unit: String,
        /// What the compiler was told.
        options: String,
        /// Which compiler.
        compiler: String,
        /// What it said.
        log: String,
    },

    /// A kernel that the device has no room for.
    #[error("device {device} has no room for a single block of {kernel}")]
    NoRoom {
        /// The device.
        device: usize,
        /// The kernel.
        kernel: &'static str,
    },
}

fn on_device(device: Option<usize>) -> String {
    device.map(|device| format!(" on device {device}")).unwrap_or_default()
}

impl CudaError {
    /// The same, saying which device it was about.
    pub(crate) fn on(mut self, ordinal: usize) -> Self {
        if let Self::Refused { device, .. } = &mut self {
            *device = Some(ordinal);
        }
        self
    }
}

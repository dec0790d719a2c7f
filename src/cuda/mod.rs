//! The CUDA driver, looked for when asked for and never before.
//!
//! Nothing here needs CUDA to build, link or load: the driver's library is opened at run time. The
//! operators of [`crate::objective`] run on the CPU; this module tells what a device would need.

use std::fmt;

use cudarc::driver::sys;

/// A driver that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driver {
    /// The CUDA version that it supports, as major and minor.
    pub version: (i32, i32),
    /// How many devices it shows to this process.
    pub devices: usize,
}

/// Why there is no driver to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// Its library is not on this machine.
    NoLibrary,
    /// It refused a call.
    Refused {
        /// The call.
        call: &'static str,
        /// The driver's error code.
        code: u32,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLibrary => write!(f, "the CUDA driver library (libcuda) is not installed"),
            Self::Refused { call, code } => {
                write!(f, "the CUDA driver refused {call}: code {code}")
            }
        }
    }
}

impl std::error::Error for Unavailable {}

fn check(call: &'static str, result: sys::CUresult) -> Result<(), Unavailable> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        other => Err(Unavailable::Refused { call, code: other as u32 }),
    }
}

/// Finds the driver.
///
/// # Errors
/// [`Unavailable`] says what is missing.
pub fn driver() -> Result<Driver, Unavailable> {
    // SAFETY: opens a library that is installed for this purpose, if there is one.
    if !unsafe { sys::is_culib_present() } {
        return Err(Unavailable::NoLibrary);
    }
    let (mut version, mut devices) = (0, 0);
    // SAFETY: the library is there, and each pointer is to a live integer.
    unsafe {
        check("cuInit", sys::cuInit(0))?;
        check("cuDriverGetVersion", sys::cuDriverGetVersion(&mut version))?;
        check("cuDeviceGetCount", sys::cuDeviceGetCount(&mut devices))?;
    }
    let devices = usize::try_from(devices).unwrap_or(0);
    Ok(Driver { version: (version / 1000, version % 1000 / 10), devices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing_or_what_is_there() {
        match driver() {
            Ok(found) => assert!(found.version.0 >= 11, "{found:?}"),
            Err(Unavailable::NoLibrary) => {
                assert!(Unavailable::NoLibrary.to_string().contains("libcuda"));
            }
            Err(refused) => assert!(refused.to_string().contains("code"), "{refused}"),
        }
    }
}

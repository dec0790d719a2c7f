//! NVRTC, the compiler that comes with torch: a library, opened where it lies.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use super::driver::loader_says;
use super::error::CudaError;
use super::image::Image;

type Handle = *mut c_void;

/// Declares NVRTC's functions once: the table of addresses, how it is filled, and a checked call
/// for each.
macro_rules! functions {
    ($($call:ident = $symbol:literal ($($argument:ident: $type:ty),*);)*) => {
        struct Functions {
            $($call: unsafe extern "C" fn($($type),*) -> c_int,)*
            /// Gives text rather than a code.
            describe: unsafe extern "C" fn(c_int) -> *const c_char,
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: NVRTC documents its functions with these types.
                unsafe {
                    Ok(Self {
                        $($call: *library.get($symbol.as_bytes())?,)*
                        describe: *library.get(b"nvrtcGetErrorString")?,
                    })
                }
            }

            $(unsafe fn $call(&self, $($argument: $type),*) -> Result<(), CudaError> {
                // SAFETY: the caller's promise.
                self.check($symbol, unsafe { (self.$call)($($argument),*) })
            })*
        }
    };
}

functions! {
    version = "nvrtcVersion"(major: *mut c_int, minor: *mut c_int);
    create = "nvrtcCreateProgram"(
        program: *mut Handle, source: *const c_char, name: *const c_char, headers: c_int,
        texts: *const *const c_char, names: *const *const c_char
    );
    compile = "nvrtcCompileProgram"(program: Handle, count: c_int, options: *const *const c_char);
    destroy = "nvrtcDestroyProgram"(program: *mut Handle);
    image_size = "nvrtcGetCUBINSize"(program: Handle, size: *mut usize);
    image = "nvrtcGetCUBIN"(program: Handle, image: *mut c_char);
    log_size = "nvrtcGetProgramLogSize"(program: Handle, size: *mut usize);
    log = "nvrtcGetProgramLog"(program: Handle, log: *mut c_char);
}

impl Functions {
    fn check(&self, call: &'static str, code: c_int) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC gives its own text, which stays, for any code.
        let text = unsafe { (self.describe)(code) };
        let about = if text.is_null() {
            "a code that NVRTC does not know".into()
        } else {
            // SAFETY: it is not null, and ends in zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        Err(CudaError::Compiler { call, code, about })
    }
}

/// A compiler that was opened.
pub struct Nvrtc {
    functions: Functions,
    /// Its CUDA version, as major and minor.
    pub version: (u32, u32),
    /// The file that it was opened from, or the name by which the loader found it.
    pub file: PathBuf,
}

/// What is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Name and text of the file.
    pub main: (&'a str, &'a str),
    /// Name and text of each file that it may include.
    pub headers: &'a [(&'a str, &'a str)],
    /// Options, of which one names the architecture.
    pub options: &'a [String],
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The image, unless the source has errors.
    pub image: Option<Image>,
    /// What the compiler said.
    pub log: String,
}

/// NVRTC opens a library of its own by name when it first compiles. The wheels of CUDA 13.0 do not
/// tell the loader that it lies in the same folder, so it is opened beforehand, by its path.
fn open_builtins(nvrtc: &Path) {
    let Some(folder) = nvrtc.parent() else { return };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so.") {
            // SAFETY: a part of NVRTC, which is made to be opened by any program.
            // If it can not be opened, NVRTC says so when it misses it.
            if let Ok(builtins) = unsafe { Library::new(entry.path()) } {
                std::mem::forget(builtins);
            }
        }
    }
}

impl Nvrtc {
    /// Opens the first of some files that is NVRTC, of no newer major version than the driver's.
    ///
    /// # Errors
    /// What was wrong with each file.
    pub fn open(files: &[PathBuf], driver: Option<(u32, u32)>) -> Result<Self, CudaError> {
        let mut tried = Vec::new();
        for file in files {
            match Self::open_file(file, driver) {
                Ok(nvrtc) => return Ok(nvrtc),
                Err(why) => {
                    // Loaders begin with the file themselves, mostly.
                    let file = format!("{}: ", file.display());
                    tried.push(format!("{file}{}", why.strip_prefix(&file).unwrap_or(&why)));
                }
            }
        }
        Err(CudaError::NoCompiler { tried: tried.join("; ") })
    }

    fn open_file(file: &Path, driver: Option<(u32, u32)>) -> Result<Self, String> {
        open_builtins(file);
        // SAFETY: NVRTC is made to be opened by any program.
        let library = unsafe { Library::new(file) }.map_err(|error| loader_says(&error))?;
        let functions = Functions::find(&library).map_err(|error| loader_says(&error))?;
        // A library that may have started threads is not closed again.
        std::mem::forget(library);
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the pointers are to live integers.
        unsafe { functions.version(&mut major, &mut minor) }.map_err(|error| error.to_string())?;
        let number = |x: c_int| u32::try_from(x).unwrap_or(0);
        let version = (number(major), number(minor));
        if let Some((newest, minor)) = driver.filter(|driver| version.0 > driver.0) {
            let (major, other) = version;
            return Err(format!("of CUDA {major}.{other}, and the driver's is {newest}.{minor}"));
        }
        Ok(Self { functions, version, file: file.to_path_buf() })
    }

    /// How errors call it.
    pub fn name(&self) -> String {
        format!("NVRTC {}.{} ({})", self.version.0, self.version.1, self.file.display())
    }

    /// Compiles a source.
    ///
    /// # Errors
    /// If the compiler refuses a call. Errors of the source are in the output.
    pub fn compile(&self, input: &Input<'_>) -> Result<Output, CudaError> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| CudaError::Compiler {
                call: "nvrtcCreateProgram",
                code: 0,
                about: "a source, a name or an option has a zero byte in it".into(),
            })
        };
        let texts = |all: &mut dyn Iterator<Item = &str>| {
            all.map(text).collect::<Result<Vec<CString>, CudaError>>()
        };
        let (name, source) = (text(input.main.0)?, text(input.main.1)?);
        let names = texts(&mut input.headers.iter().map(|(name, _)| *name))?;
        let sources = texts(&mut input.headers.iter().map(|(_, text)| *text))?;
        let options = texts(&mut input.options.iter().map(String::as_str))?;
        let pointers = |all: &[CString]| all.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();

        let mut program = Program { functions: &self.functions, handle: std::ptr::null_mut() };
        let (names, sources, flags) = (pointers(&names), pointers(&sources), pointers(&options));
        let count = |all: &[*const c_char]| c_int::try_from(all.len()).unwrap_or(c_int::MAX);
        // SAFETY: all texts end in zero and live until the end of this function, and there are as
        // many as the counts say.
        let compiled = unsafe {
            self.functions.create(
                &mut program.handle,
                source.as_ptr(),
                name.as_ptr(),
                count(&names),
                sources.as_ptr(),
                names.as_ptr(),
            )?;
            self.functions.compile(program.handle, count(&flags), flags.as_ptr())
        };
        let log = program.log()?;
        /// What NVRTC says of a source with errors; any other code is not about the source.
        const COMPILATION: i32 = 6;
        match compiled {
            Ok(()) => {
                let image = Image { code: program.image()?, toolkit: self.version };
                Ok(Output { image: Some(image), log })
            }
            Err(CudaError::Compiler { code: COMPILATION, .. }) => Ok(Output { image: None, log }),
            // Refused options are explained in the log.
            Err(CudaError::Compiler { call, code, about }) if !log.is_empty() => {
                Err(CudaError::Compiler { call, code, about: format!("{about}: {log}") })
            }
            Err(error) => Err(error),
        }
    }
}

/// A program of the compiler's, given back when it is not needed any more.
struct Program<'a> {
    functions: &'a Functions,
    handle: Handle,
}

impl Program<'_> {
    fn image(&self) -> Result<Vec<u8>, CudaError> {
        let mut size = 0;
        // SAFETY: the pointer is to a live integer; then the compiler writes as much as it said.
        unsafe {
            self.functions.image_size(self.handle, &mut size)?;
            let mut image = vec![0; size];
            self.functions.image(self.handle, image.as_mut_ptr().cast())?;
            Ok(image)
        }
    }

    fn log(&self) -> Result<String, CudaError> {
        let mut size = 0;
        // SAFETY: as for the image.
        let log = unsafe {
            self.functions.log_size(self.handle, &mut size)?;
            let mut log = vec![0_u8; size];
            if size > 0 {
                self.functions.log(self.handle, log.as_mut_ptr().cast())?;
            }
            log
        };
        Ok(String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string())
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the program was created and is not used again. A failure leaks it, and there
            // is nobody to tell.
            let _ = unsafe { self.functions.destroy(&mut self.handle) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_compiler_are_named_with_the_reason() {
        // The test's own executable is there, and can not be loaded as a library.
        let own = std::env::current_exe().unwrap_or_default();
        let files = [PathBuf::from("/nowhere/libnvrtc.so.13"), own.clone()];
        let Err(CudaError::NoCompiler { tried }) = Nvrtc::open(&files, None) else {
            unreachable!("one of {files:?} was opened");
        };
        assert!(tried.contains("/nowhere/libnvrtc.so.13: "), "{tried}");
        assert!(tried.contains("No such file"), "{tried}");
        assert!(tried.contains(&format!("{}: ", own.display())), "{tried}");
    }
}

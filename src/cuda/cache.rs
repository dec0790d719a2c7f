//! Images on disk: those that came with the package, and those that were compiled here.
//!
//! A file's name says all that its content depends on, so a file that is whole is right. Files are
//! written under another name and renamed: whoever reads sees all of one or nothing, however many
//! processes write it at the same time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::image::Image;

/// Reads an image that a driver of this version may load; None if there is no such file.
///
/// # Errors
/// Why it can not be used, as half a sentence.
pub fn read(file: &Path, driver: (u32, u32)) -> Result<Option<Image>, String> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let image = Image::unsealed(bytes).ok_or("damaged")?;
    let (major, minor) = image.toolkit;
    if major > driver.0 {
        let (of, version) = driver;
        return Err(format!("made by CUDA {major}.{minor}, and the driver's is {of}.{version}"));
    }
    Ok(Some(image))
}

/// Writes an image into a folder, over whatever is there under its name.
///
/// # Errors
/// If the folder can not be made or written to.
pub fn write(folder: &Path, name: &str, image: &Image) -> io::Result<()> {
    // Two writers of a process differ in the number, two processes in their ids, two machines that
    // share a folder hardly ever in neither; `create_new` refuses a name that is taken.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let draft = folder.join(format!(".{name}.{}.{number}", std::process::id()));
    let written = fs::File::create_new(&draft)
        .and_then(|mut file| file.write_all(&image.sealed()))
        .and_then(|()| fs::rename(&draft, folder.join(name)));
    if written.is_err() {
        // What matters is why the image was not kept; a draft that stays is never read.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Where images go that are compiled here: what the environment names (`ICPO_CACHE_DIR`), or the
/// user's folder for such things. None where there is neither.
pub fn default_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable("ICPO_CACHE_DIR") {
        return Some(folder.into());
    }
    let of_user = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(of_user.join("icpo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    const NAME: &str = "unit-0123456789abcdef.sm_90.cubin";

    /// A folder of its own for a test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("icpo-cache-{test}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn image(fill: u8, length: usize) -> Image {
        Image { code: vec![fill; length], toolkit: (13, 0) }
    }

    #[test]
    fn what_is_written_is_read() -> Outcome {
        let folder = Folder::new("kept");
        let (below, image) = (folder.0.join("a/b"), image(7, 100_000));
        assert_eq!(read(&below.join(NAME), (13, 0)), Ok(None));
        write(&below, NAME, &image)?;
        assert_eq!(read(&below.join(NAME), (13, 0)), Ok(Some(image)));
        Ok(())
    }

    #[test]
    fn older_drivers_are_spared_newer_code() -> Outcome {
        let folder = Folder::new("toolkit");
        write(&folder.0, NAME, &image(1, 10))?;
        let older = read(&folder.0.join(NAME), (12, 9)).err().unwrap_or_default();
        assert!(older.contains("13.0") && older.contains("12.9"), "{older}");
        assert_eq!(read(&folder.0.join(NAME), (14, 0)), Ok(Some(image(1, 10))));
        Ok(())
    }

    #[test]
    fn damaged_files_are_named_so_and_replaced() -> Outcome {
        let folder = Folder::new("damaged");
        let (file, image) = (folder.0.join(NAME), image(9, 5_000));
        write(&folder.0, NAME, &image)?;
        let whole = fs::read(&file)?;
        let mut flipped = whole.clone();
        flipped[2_000] ^= 0x10;
        for damage in [Vec::new(), whole[..4_000].to_vec(), flipped] {
            fs::write(&file, damage)?;
            assert_eq!(read(&file, (13, 0)), Err("damaged".into()));
            write(&folder.0, NAME, &image)?;
            assert_eq!(read(&file, (13, 0)), Ok(Some(image.clone())));
        }
        Ok(())
    }

    #[test]
    fn readers_see_whole_files_while_others_write() -> Outcome {
        let folder = Folder::new("writers");
        let file = folder.0.join(NAME);
        write(&folder.0, NAME, &image(0, 50_000))?;
        std::thread::scope(|scope| {
            for writer in 1..=4 {
                let folder = &folder.0;
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert!(write(folder, NAME, &image(writer, 50_000)).is_ok());
                    }
                });
            }
            for _ in 0..200 {
                assert!(matches!(read(&file, (13, 0)), Ok(Some(_))));
            }
        });
        // No drafts stay behind.
        assert_eq!(fs::read_dir(&folder.0)?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_an_error() -> Outcome {
        let folder = Folder::new("blocked");
        fs::create_dir_all(&folder.0)?;
        // A file where the folder should be: not even root can write below it.
        let blocked = folder.0.join("file");
        fs::write(&blocked, b"")?;
        assert!(write(&blocked, NAME, &image(1, 10)).is_err());
        assert!(read(&blocked.join(NAME), (13, 0)).is_err());
        Ok(())
    }
}

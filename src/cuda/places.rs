//! Where images and compilers are looked for: set once, by whoever knows how the package lies.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use super::cache;

/// Folders of images, and files that may be the compiler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// Folders of images made ahead of time, which are only read.
    pub prebuilt: Vec<PathBuf>,
    /// Where images go that are compiled here. None: [`cache::default_folder`].
    pub cache: Option<PathBuf>,
    /// Files that may be NVRTC, in order, before the names that the loader knows.
    pub nvrtc: Vec<PathBuf>,
}

static PLACES: RwLock<Places> =
    RwLock::new(Places { prebuilt: Vec::new(), cache: None, nvrtc: Vec::new() });

/// Sets the places for whatever is looked for from now on.
pub fn set_places(places: Places) {
    *PLACES.write().unwrap_or_else(PoisonError::into_inner) = places;
}

/// The places as they were set.
pub fn places() -> Places {
    PLACES.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Places {
    /// Where images go that are compiled here.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        self.cache.clone().or_else(cache::default_folder)
    }

    /// The files that may hold the image of this name, with whether they came with the package.
    pub(crate) fn files(&self, name: &str) -> Vec<(bool, PathBuf)> {
        let prebuilt = self.prebuilt.iter().map(|folder| (true, folder.join(name)));
        prebuilt.chain(self.cache_folder().map(|folder| (false, folder.join(name)))).collect()
    }

    /// The files that may be NVRTC: what the environment names (`ICPO_NVRTC`), or else those that
    /// were set and then what the loader finds.
    pub(crate) fn compilers(&self) -> Vec<PathBuf> {
        if let Some(file) = std::env::var_os("ICPO_NVRTC").filter(|file| !file.is_empty()) {
            return vec![file.into()];
        }
        let known = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"].map(PathBuf::from);
        self.nvrtc.iter().cloned().chain(known).collect()
    }
}

//! The operators of [`crate::objective`] on CUDA devices.
//!
//! Nothing here needs CUDA to build, link or load: the driver's library is opened when a device is
//! first asked for, and whoever asks without one is told what is missing. Arrays are
//! [`DeviceView`]s, which are passed on and never followed. Operators check them, and put kernels
//! onto a [`Stream`]: nothing is allocated on the device, and nothing waits for it, so that a
//! stream that captures a graph can capture these too, once their kernels are loaded ([`prepare`]).
//!
//! Kernels live in kernels/*.cu. They are part of this crate as text, and become machine code ahead
//! of time or by [`Nvrtc`] at run time; files of machine code have names that say all they were
//! made from.

pub mod advantage;
mod arguments;
pub mod cache;
mod context;
mod device;
mod driver;
mod error;
pub mod fused;
mod image;
mod info;
mod kernel;
pub mod logp_entropy;
mod module;
mod nvrtc;
mod places;
pub mod plan;
pub mod policy_loss;
pub mod scale;
mod sources;
mod status;
mod stream;
mod view;

pub use device::Properties;
pub use error::CudaError;
pub use image::Image;
pub use info::{
    DeviceInfo, KernelInfo, Prepared, UnitInfo, compiler, device_info, device_plan, prepare,
    searched, versions,
};
pub use kernel::TOKENS_A_BLOCK;
pub use module::Origin;
pub use nvrtc::{Input, Nvrtc, Output};
pub use places::{Places, places, set_places};
pub use sources::{Architecture, Unit};
pub use status::STATUSES;
pub use stream::Stream;
pub use view::{DType, DeviceView, Element, RowScales};

//! The pages: rendered here, on the server; charts as SVG; a few lines of script refresh them.
//!
//! - [`layout`]: the frame of every page. [`autoscaling`]: the live page.
//!
//! Rule: a page shows what the API says, and works without its script.

pub(crate) mod autoscaling;
pub(crate) mod layout;

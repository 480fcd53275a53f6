//! What the status port tells: [`report`] health, figures and the dashboard; [`sampler`] looks at
//! the node now and then for [`rates`] and for the [`history`] that [`history_file`] keeps.

pub mod history;
pub mod history_file;
mod rates;
pub(crate) mod report;
pub(crate) mod sampler;

//! Power cuts and failing disks under an unmodified pixel.

mod disk_faults;
mod lossy_pixel;
mod power_cut;

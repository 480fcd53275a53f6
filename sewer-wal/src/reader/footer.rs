//! The footer of a file: found at its end, and believed as far as it fits the file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::window::{Window, is_bad_sector};
use crate::error::{IoContext, WalError};
use crate::format::footer::{FOOTER_BYTES, FOOTER_BYTES_V1, FOOTER_VERSION, Footer, FooterError};
use crate::layout::open_file;

impl Footer {
    /// Reads the footer at the end of a file of `file_bytes` bytes, if there is one that fits the
    /// file; the CRC of the file is not checked.
    ///
    /// # Errors
    /// [`WalError::Io`], or [`WalError::Version`] for a footer of a newer version.
    pub(crate) fn read_at_end(
        file: &File,
        path: &Path,
        file_bytes: u64,
    ) -> Result<Option<Self>, WalError> {
        for length in [FOOTER_BYTES, FOOTER_BYTES_V1] {
            let Some(start) = file_bytes.checked_sub(length as u64) else { continue };
            let mut bytes = vec![0; length];
            match file.read_exact_at(&mut bytes, start) {
                Err(e) if is_bad_sector(&e) => continue,
                result => result.context("read footer of", path)?,
            }
            match Self::decode(&bytes) {
                // A damaged count of format 1 must not number what was never written.
                Ok(footer)
                    if footer.data_bytes == start
                        && (footer.has_own_crc() || footer.count <= start) =>
                {
                    return Ok(Some(footer));
                }
                // A newer version keeps its CRC at the end; without it, this is a damaged footer.
                Err(FooterError::Version(version))
                    if ends_with_its_crc(file, path, file_bytes)? =>
                {
                    let path = path.to_path_buf();
                    return Err(WalError::Version { path, version, supported: FOOTER_VERSION });
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Reads the footer of the sealed segment at `path`; `None` if it has none. Cheap: it reads
    /// some bytes and leaves the CRC of the file to [`SegmentReader`](super::SegmentReader).
    pub fn load(path: &Path) -> Result<Option<Self>, WalError> {
        let (file, bytes) = open_file(path)?;
        Self::read_at_end(&file, path, bytes)
    }
}

/// Whether the last four bytes of a file are the CRC-32 of all before them.
fn ends_with_its_crc(file: &File, path: &Path, file_bytes: u64) -> Result<bool, WalError> {
    let crc_at = file_bytes.saturating_sub(4);
    let mut window = Window::new(file.try_clone().context("open", path)?, crc_at);
    window.skip_to(crc_at).context("read", path)?;
    let mut stored = [0; 4];
    file.read_exact_at(&mut stored, crc_at).context("read", path)?;
    Ok(window.crc().finalize().to_le_bytes() == stored)
}

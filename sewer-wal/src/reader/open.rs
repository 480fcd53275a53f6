//! The beginning of a file: what its header, its footer and its name tell.

use std::collections::VecDeque;
use std::path::Path;

use super::decoder::{Decoder, Place};
use super::resync::Chains;
use super::window::Window;
use super::{Kind, SegmentReader};
use crate::error::{IoContext, WalError};
use crate::format::footer::Footer;
use crate::format::header::{COMPACT_START, HeaderError, LogHeader};
use crate::format::{FORMAT_VERSION, LOG_START};
use crate::identity::SegmentName;
use crate::layout::open_file;
use crate::lsn::{Lsn, LsnRange};

impl SegmentReader {
    /// Opens a file of the given kind and reads its header and, if sealed, its footer.
    ///
    /// # Errors
    /// [`WalError::Io`], [`WalError::NotAFile`], or, for a newer format, [`WalError::Version`] or
    /// [`WalError::Encoding`]. Damage is no error: it comes as an [`Item`](super::Item).
    pub fn open(path: &Path, kind: Kind) -> Result<Self, WalError> {
        let (file, file_bytes) = open_file(path)?;
        let footer = match kind {
            Kind::Active => None,
            Kind::Sealed => Footer::read_at_end(&file, path, file_bytes)?,
        };
        let limit = match (kind, &footer) {
            (Kind::Active, _) => u64::MAX,
            (Kind::Sealed, Some(footer)) => footer.data_bytes,
            (Kind::Sealed, None) => file_bytes,
        };
        let named = SegmentName::of_path(path).map(|name| name.base);
        let base = match (footer.map(|footer| footer.base), named) {
            (Some(base), Some(named)) if base != named => None, // the first batch tells
            (base, named) => base.or(named),
        };
        let mut reader = Self {
            path: path.to_path_buf(),
            kind,
            window: Window::new(file, limit),
            header: None,
            footer,
            named,
            expected_first: base,
            expected_end: None,
            next: Place { decoder: Decoder::Unknown, lsn: None, id: 1, offset: 0 },
            chains: Chains::default(),
            slots: Vec::new(),
            found: VecDeque::new(),
            is_damaged: false,
            is_as_sealed: false,
            has_ended: false,
            data_end: 0,
        };
        reader.read_header()?;
        if kind == Kind::Sealed && footer.is_none() {
            reader.note(file_bytes, LsnRange::new(Lsn(0), 0), "no intact footer");
        }
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), WalError> {
        while self.window.bytes().len() < LOG_START {
            if !self.window.fill().context("read", &self.path)? {
                break;
            }
        }
        let version = |version| {
            let (path, supported) = (self.path.clone(), FORMAT_VERSION.into());
            WalError::Version { path, version, supported }
        };
        match LogHeader::decode(self.window.bytes()) {
            Ok(header) => {
                self.header = Some(header);
                self.begin(Decoder::of(header), header);
            }
            Err(HeaderError::Version(found)) => return Err(version(found)),
            Err(HeaderError::Encoding) => {
                return Err(WalError::Encoding { path: self.path.clone() });
            }
            // A spare whose preparation was cut off has nothing where batches are: no damage.
            Err(HeaderError::NotALog) if self.kind == Kind::Active && self.begins_empty() => {}
            Err(HeaderError::NotALog) => self.do_without_header()?,
        }
        self.data_end = self.window.offset();
        self.next.offset = self.data_end;
        Ok(())
    }

    /// Whether there is nothing but zeros where any file has its first batch.
    fn begins_empty(&self) -> bool {
        let bytes = self.window.bytes();
        // A header has zeros there, up to its end.
        let is_of_header =
            |at: usize| at < COMPACT_START || (LOG_START - 5..LOG_START).contains(&at);
        !Decoder::begins_as_v1(bytes)
            && !self.window.is_unreadable(&(0..bytes.len() as u64))
            && bytes.iter().enumerate().all(|(at, &byte)| byte == 0 || is_of_header(at))
    }

    /// The footer repeats the salt; and a file of format 1 can be told by its first entry.
    fn do_without_header(&mut self) -> Result<(), WalError> {
        self.note(0, LsnRange::new(Lsn(0), 0), "no intact log header");
        let sealed_copy = self.footer_of_copy()?;
        let footer = self.footer.or(sealed_copy);
        let v1 = LogHeader::of_v1(crate::WalId(0), 0);
        if let Some(header) = footer.as_ref().and_then(Footer::header) {
            self.header = sealed_copy.map(|_| header);
            self.begin(Decoder::of(header), header);
        } else if footer.is_some() || Decoder::begins_as_v1(self.window.bytes()) {
            self.begin(Decoder::V1, v1);
        }
        Ok(())
    }

    /// The footer of a copy that has taken its log's place and not yet its name in `sealed/`.
    fn footer_of_copy(&self) -> Result<Option<Footer>, WalError> {
        if self.kind == Kind::Sealed {
            return Ok(None);
        }
        let (file, bytes) = open_file(&self.path)?;
        let footer = Footer::read_at_end(&file, &self.path, bytes)?;
        Ok(footer.filter(|footer| footer.header().is_some()))
    }

    fn begin(&mut self, decoder: Decoder, header: LogHeader) {
        let start = header.data_start().min(self.window.bytes().len());
        self.window.consume(start);
        self.next = Place { decoder, id: header.first_entry_id(), ..self.next };
    }
}

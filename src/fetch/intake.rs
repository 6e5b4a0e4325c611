//! Takes a file up as it comes from any source: within the limit, counted, and whole only if it is as long as announced.

use super::meter::Meter;
use super::{FetchError, Fetched, Validators};
use crate::spool::SpoolWriter;

pub(super) struct Intake<'a> {
    content: SpoolWriter,
    declared: Option<u64>,
    meter: &'a Meter,
}

impl<'a> Intake<'a> {
    /// For a file that is announced to be so long, if it is, and may be `limit` bytes at most.
    pub(super) fn new(
        limit: u64,
        declared: Option<u64>,
        meter: &'a Meter,
    ) -> Result<Self, FetchError> {
        if declared.is_some_and(|declared| declared > limit) {
            return Err(FetchError::TooLarge { limit });
        }
        Ok(Self {
            content: SpoolWriter::new(limit)?,
            declared,
            meter,
        })
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        self.content.push(piece)?;
        self.meter.set(self.content.size(), self.declared);
        Ok(())
    }

    /// The file from `host`, whole.
    pub(super) fn finish(self, host: &str, validators: Validators) -> Result<Fetched, FetchError> {
        if self
            .declared
            .is_some_and(|declared| declared != self.content.size())
        {
            return Err(FetchError::Incomplete {
                host: host.to_owned(),
            });
        }
        Ok(Fetched {
            content: self.content.finish(),
            validators,
        })
    }
}

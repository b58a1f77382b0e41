//! How much a plan may hold.

use std::cell::Cell;

use crate::dockerfile::Span;

use super::Error;

/// The most that all variables of a plan come to in bytes, wherever they are put in: far more than any build needs, and
/// than a process can be given.
const LARGEST: usize = 64 << 20;

/// Counts what is put together out of variables. A value has its limit; this is that of a file with many.
#[derive(Debug, Default)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// Takes note of `bytes` more.
    ///
    /// # Errors
    /// When there are too many; the error names the instruction.
    pub(super) fn spend(&self, bytes: usize, span: Span) -> Result<(), Error> {
        self.0.set(self.0.get().saturating_add(bytes));
        if self.0.get() <= LARGEST {
            return Ok(());
        }
        let message = "with this line the variables of the Dockerfile, where they are put in, come to more than 64 MiB";
        Err(Error::invalid(span, message.to_owned()))
    }
}

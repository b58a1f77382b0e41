//! Which trace of the caller's a run belongs to.

use std::str::FromStr;

/// Which trace of the caller's this run belongs to.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form 00-TRACE-SPAN-FLAGS")]
pub struct TraceContextError;

impl TraceContext {
    /// Returns the trace's id, 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Returns the trace's id.
    pub fn trace(self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// Returns the id of the caller's span.
    pub fn span(self) -> [u8; 8] {
        self.span.to_be_bytes()
    }

    /// Tells whether the caller's spans are recorded: the last bit of the flags.
    pub fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// Returns the id of the caller's span, 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    /// Reads the four fields of version 00; later versions may have more.
    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let mut fields = text.trim().split('-');
        let mut field = |length: usize| {
            fields.next().filter(|field| field.len() == length && field.bytes().all(is_hex)).ok_or(TraceContextError)
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let trace = u128::from_str_radix(trace, 16).map_err(|_| TraceContextError)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| TraceContextError)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| TraceContextError)?;
        let complete = version == "00" && fields.next().is_some();
        if version == "ff" || complete || trace == 0 || span == 0 {
            return Err(TraceContextError);
        }
        Ok(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_those_of_w3c() {
        let padded = TraceContext { trace: 1, span: 2, is_sampled: true };
        assert_eq!((padded.trace_id().len(), &*padded.span_id()), (32, "0000000000000002"));
        for (text, valid) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<TraceContext>().is_ok(), valid, "{text}");
        }
    }
}

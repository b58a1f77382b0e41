//! One tar header block: its fields as numbers and byte strings.
//!
//! Knows the layouts of v7, ustar, GNU and star headers; does not know PAX records or what follows a header.
//!
//! Sources: POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use tar::Header;

/// The unit in which a tar stream is made.
pub(super) const BLOCK: usize = 512;

/// What is wrong with a header.
pub(super) type Fault = &'static str;

/// A header block as it stands in the stream, before PAX records and GNU long names are applied.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: u8,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) device: (u32, u32),
}

/// Tells whether a block is a header: not all zero, and its checksum is right.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    !is_zero(block) && checksum_is_right(block)
}

pub(super) fn is_zero(block: &[u8]) -> bool {
    block.iter().fold(0, |all, byte| all | byte) == 0
}

fn checksum_is_right(block: &[u8; BLOCK]) -> bool {
    let header = Header::from_byte_slice(block);
    let field = &header.as_old().cksum;
    let Ok(expected) = number(field) else { return false };
    let unsigned: i64 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>().into();
    let own: i64 = field.iter().map(|byte| u32::from(*byte)).sum::<u32>().into();
    let spaces = 8 * i64::from(b' ');
    if unsigned - own + spaces == expected {
        return true;
    }
    // Old writers summed signed characters.
    let signed = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    signed(block) - signed(field) + spaces == expected
}

/// Reads the fields of a block whose checksum is right.
pub(super) fn fields(block: &[u8; BLOCK]) -> Result<Fields, Fault> {
    if !checksum_is_right(block) {
        return Err("its checksum is wrong");
    }
    let header = Header::from_byte_slice(block);
    let old = header.as_old();
    let device = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (device_number(&ustar.dev_major)?, device_number(&ustar.dev_minor)?),
        (None, Some(gnu)) => (device_number(&gnu.dev_major)?, device_number(&gnu.dev_minor)?),
        (None, None) => (0, 0),
    };
    let positive = |field: &[u8], fault| number(field).and_then(|value| u64::try_from(value).map_err(|_| fault));
    Ok(Fields {
        name: full_name(header),
        link: text(&old.linkname).to_vec(),
        flag: old.linkflag[0],
        mode: u32::try_from(number(&old.mode)? & 0o7777).map_err(|_| "its mode is not a number")?,
        uid: positive(&old.uid, "its owner is negative")?,
        gid: positive(&old.gid, "its group is negative")?,
        size: positive(&old.size, "its size is negative")?,
        seconds: number(&old.mtime)?,
        device,
    })
}

/// Puts the ustar prefix, where the format has one, before the name.
fn full_name(header: &Header) -> Vec<u8> {
    let name = text(&header.as_old().name);
    let Some(ustar) = header.as_ustar() else { return name.to_vec() };
    // star's own headers end in "tar\0" and keep times in the last part of the prefix.
    let is_star = header.as_bytes()[508..] == *b"tar\0";
    let prefix = text(if is_star { &ustar.prefix[..131] } else { &ustar.prefix });
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Returns a field's bytes up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..memchr::memchr(0, field).unwrap_or(field.len())]
}

fn device_number(field: &[u8]) -> Result<u32, Fault> {
    u32::try_from(number(field)?).map_err(|_| "its device number is out of range")
}

/// Reads a number: octal digits between spaces or NULs, or GNU's base-256 with the highest bit set.
pub(super) fn number(field: &[u8]) -> Result<i64, Fault> {
    const FAULT: Fault = "a number in it is malformed";
    if let Some(first) = field.first()
        && first & 0x80 != 0
    {
        return base_256(field).ok_or("a number in it is out of range");
    }
    let digits = text(field).trim_ascii();
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 7 {
            return Err(FAULT);
        }
        // Twelve octal digits at most: 36 bits.
        value = value << 3 | i64::from(digit);
    }
    Ok(value)
}

/// Reads a big-endian two's complement number whose highest bit is a marker.
fn base_256(field: &[u8]) -> Option<i64> {
    let is_negative = field[0] & 0x40 != 0;
    let fill = if is_negative { 0xff } else { 0 };
    let mut bytes = [fill; 8];
    let first = if is_negative { field[0] } else { field[0] & 0x7f };
    let (high, low) = field.split_at(field.len().saturating_sub(8));
    let high_is_fill = high.iter().enumerate().all(|(at, byte)| if at == 0 { first == fill } else { *byte == fill });
    if !high_is_fill {
        return None;
    }
    bytes[8 - low.len()..].copy_from_slice(low);
    if high.is_empty() {
        bytes[8 - low.len()] = if is_negative { first } else { first & 0x7f };
    }
    let value = i64::from_be_bytes(bytes);
    ((value < 0) == is_negative).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o77_777_777_777)),
            (b"12x4567\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\x20\0\0", Some(0x20_0000)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field).ok(), *expected, "{field:?}");
        }
    }

    #[test]
    fn a_prefix_stands_before_the_name() {
        let mut header = Header::new_ustar();
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        header.set_path(&long).expect("fits");
        header.set_cksum();
        assert_eq!(fields(header.as_bytes()).expect("valid").name, long.as_bytes());
        header.as_mut_bytes()[0] ^= 1;
        assert_eq!(fields(header.as_bytes()).expect_err("damaged"), "its checksum is wrong");
    }
}

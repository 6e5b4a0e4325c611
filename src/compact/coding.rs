//! Binary encoding of contacts and issues: fields in a fixed order, without tags.

use crate::model::contact::{FieldUpdate, NumberType, PhoneNumber, Priority};

/// Encodes [`FieldUpdate::Keep`]. A blank is encoded as 0, and a text is preceded by 1.
pub(super) const KEEP_STORED: u8 = 0xFF;

/// Encodes a blank priority.
pub(super) const BLANK_PRIORITY: u8 = 0xFE;
/// Precedes each number.
pub(super) const NUMBER_FOLLOWS: u8 = 1;
/// Follows the last number.
pub(super) const NUMBERS_END: u8 = 0;
/// Number of digits of a phone number.
const PHONE_DIGITS: usize = 10;

/// Writes counts with seven bits per byte, and texts after their length.
pub(super) struct Encoder<'a>(pub(super) &'a mut Vec<u8>);

impl Encoder<'_> {
    pub(super) fn count(&mut self, mut count: usize) {
        while count >= 0x80 {
            self.0.push(0x80 | low_bits(count));
            count >>= 7;
        }
        self.0.push(low_bits(count));
    }

    /// A value below 256.
    pub(super) fn byte(&mut self, byte: usize) {
        self.0.push(u8::try_from(byte).unwrap_or(u8::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn optional(&mut self, text: Option<&str>) {
        self.optional_bytes(text.map(str::as_bytes));
    }

    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) {
        self.0.push(u8::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    pub(super) fn text_update(&mut self, update: FieldUpdate<Option<&str>>) {
        match update {
            FieldUpdate::Keep => self.0.push(KEEP_STORED),
            FieldUpdate::Set(None) => self.0.push(0),
            FieldUpdate::Set(Some(text)) => {
                self.0.push(1);
                self.text(text);
            }
        }
    }
}

/// The lowest seven bits.
fn low_bits(count: usize) -> u8 {
    u8::try_from(count & 0x7F).unwrap_or(0x7F)
}

/// Reads what an [`Encoder`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    pub(super) fn count(&mut self) -> usize {
        let (mut count, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            count |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return count;
            }
            shift += 7;
        }
    }

    pub(super) fn row(&mut self) -> u32 {
        u32::try_from(self.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// A text as bytes, without the cost of a UTF-8 check.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = self.count();
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    pub(super) fn optional(&mut self) -> Option<&'a str> {
        self.optional_bytes()
            .map(|bytes| std::str::from_utf8(bytes).unwrap_or_default())
    }

    pub(super) fn optional_bytes(&mut self) -> Option<&'a [u8]> {
        (self.byte() == 1).then(|| self.bytes())
    }

    /// Same as [`Decoder::text_update`], without the cost of a UTF-8 check.
    pub(super) fn bytes_update(&mut self) -> FieldUpdate<Option<&'a [u8]>> {
        match self.byte() {
            KEEP_STORED => FieldUpdate::Keep,
            0 => FieldUpdate::Set(None),
            _ => FieldUpdate::Set(Some(self.bytes())),
        }
    }

    /// Skips a number. Returns `false` after the last one.
    pub(super) fn skip_number(&mut self) -> bool {
        if self.byte() != NUMBER_FOLLOWS {
            return false;
        }
        self.0 = &self.0[PHONE_DIGITS + 1..];
        self.bytes_update();
        true
    }

    /// The next number; `None` after the last one.
    pub(super) fn number(
        &mut self,
    ) -> Option<(PhoneNumber, NumberType, FieldUpdate<Option<&'a str>>)> {
        if self.byte() != NUMBER_FOLLOWS {
            return None;
        }
        let (digits, rest) = self.0.split_at(PHONE_DIGITS);
        self.0 = rest;
        let number = PhoneNumber::from_stored(digits);
        let number_type = NumberType::ALL[usize::from(self.byte())];
        Some((number, number_type, self.text_update()))
    }

    pub(super) fn priority(&mut self) -> FieldUpdate<Option<Priority>> {
        match self.byte() {
            KEEP_STORED => FieldUpdate::Keep,
            BLANK_PRIORITY => FieldUpdate::Set(None),
            priority => FieldUpdate::Set(Some(Priority::ALL[usize::from(priority)])),
        }
    }

    pub(super) fn text_update(&mut self) -> FieldUpdate<Option<&'a str>> {
        match self.byte() {
            KEEP_STORED => FieldUpdate::Keep,
            0 => FieldUpdate::Set(None),
            _ => FieldUpdate::Set(Some(self.text())),
        }
    }
}

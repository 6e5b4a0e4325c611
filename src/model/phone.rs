//! Phone numbers: parsing of typed numbers, and their normalized form.

use serde::Serialize;

/// A phone number of the North American Numbering Plan: ten digits, with area code and exchange starting with 2 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber([u8; 10]);

/// Why a text is not a [`PhoneNumber`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneNumberError {
    /// Not ten digits, or characters other than digits, punctuation and spaces.
    NotTenDigits,
    /// The area code or exchange starts with 0 or 1.
    NotNanp,
}

impl PhoneNumber {
    /// Parses a typed number. Punctuation, spaces and a leading `+1` or `1` are ignored.
    ///
    /// # Errors
    /// [`PhoneNumberError`] if the rest is not ten digits of the numbering plan.
    pub fn parse(text: &str) -> Result<Self, PhoneNumberError> {
        // Fast path: most numbers are exactly ten digits.
        if let Ok(number) = <[u8; 10]>::try_from(text.as_bytes())
            && number.iter().all(u8::is_ascii_digit)
        {
            return Self::check_nanp(number);
        }
        // A decimal number: a program stored the phone number as a quantity, and the digits after the point are not part of it.
        if let Some((integer, fraction)) = text.trim().split_once('.')
            && fraction.len() < 4
            && [integer, fraction]
                .iter()
                .all(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(PhoneNumberError::NotTenDigits);
        }
        // One more than the 11 digits that are allowed, to detect surplus digits.
        let (mut digits, mut count) = ([0; 12], 0);
        for c in text.chars() {
            match c {
                '0'..='9' => {
                    if let (Some(digit), Ok(value)) = (digits.get_mut(count), u8::try_from(c)) {
                        *digit = value;
                        count += 1;
                    }
                }
                '+'
                | '('
                | ')'
                | '['
                | ']'
                | '{'
                | '}'
                | '-'
                | '.'
                | ','
                | ';'
                | ':'
                | '/'
                | '_'
                | '\''
                | '"'
                | '·'
                | '\u{2010}'..='\u{2015}'
                | '\u{2018}'..='\u{201f}'
                | '\u{2212}' => {}
                c if crate::unicode::is_blank_char(c) => {}
                _ => return Err(PhoneNumberError::NotTenDigits),
            }
        }
        let plus = text.as_bytes().contains(&b'+');
        if plus && !text.trim_start_matches(['(', ' ']).starts_with('+') {
            return Err(PhoneNumberError::NotTenDigits);
        }
        let number = match &digits[..count] {
            [b'1', number @ ..] if number.len() == 10 => number,
            number if !plus => number,
            _ => return Err(PhoneNumberError::NotTenDigits),
        };
        let number = <[u8; 10]>::try_from(number).map_err(|_| PhoneNumberError::NotTenDigits)?;
        Self::check_nanp(number)
    }

    fn check_nanp(number: [u8; 10]) -> Result<Self, PhoneNumberError> {
        if number[0] < b'2' || number[3] < b'2' {
            return Err(PhoneNumberError::NotNanp);
        }
        Ok(Self(number))
    }

    /// A number that was validated before: from the database, which has a CHECK constraint for it, or from the compact form.
    #[must_use]
    pub fn from_stored(digits: impl AsRef<[u8]>) -> Self {
        let mut number = [b'0'; 10];
        for (to, digit) in number.iter_mut().zip(digits.as_ref()) {
            *to = *digit;
        }
        Self(number)
    }

    /// The ten digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The ten digits as ASCII bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// The ten digits as an integer.
    #[must_use]
    pub fn to_u64(&self) -> u64 {
        let digit = |byte: &u8| u64::from(byte.wrapping_sub(b'0'));
        self.0
            .iter()
            .fold(0, |value, byte| value * 10 + digit(byte))
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, PhoneNumberError>) {
        assert_eq!(
            PhoneNumber::parse(text).as_ref().map(PhoneNumber::as_str),
            expected.as_ref().copied(),
            "{text}"
        );
    }

    #[test]
    fn common_number_formats_are_accepted() {
        for text in [
            "6045550100",
            "(604) 555-0100",
            "604-555-0100",
            "604.555.0100",
            "+1 604 555 0100",
            "1-604-555-0100",
            "+16045550100",
            "16045550100",
            "(+1) 604 555 0100",
            "604\u{2011}555\u{a0}0100",
            "604.5550100",
            "604555.0100",
            "[604] 555:0100",
            "604,555,0100;",
            "'6045550100",
        ] {
            check(text, Ok("6045550100"));
        }
    }

    #[test]
    fn input_without_ten_digits_is_refused() {
        for text in [
            "",
            "604555010",
            "60455501000",
            "6045550100x12",
            "6045550100 ext 5",
            "CALL 604555010",
            "+6045550100",
            "+44 20 7946 0018",
            "604+5550100",
            "26045550100",
            "6.04E+09",
            "604555010.0",
            "604555010.5",
            "60455501.00",
            "6045550100.0",
            "6045550100, 6045550101",
            "604-555-0100#",
            "٦٠٤٥٥٥٠١٠٠",
        ] {
            check(text, Err(PhoneNumberError::NotTenDigits));
        }
    }

    #[test]
    fn area_code_or_exchange_below_2_is_refused() {
        check("1045550100", Err(PhoneNumberError::NotNanp));
        check("0045550100", Err(PhoneNumberError::NotNanp));
        check("6041550100", Err(PhoneNumberError::NotNanp));
        check("6040550100", Err(PhoneNumberError::NotNanp));
        check("11045550100", Err(PhoneNumberError::NotNanp));
    }
}

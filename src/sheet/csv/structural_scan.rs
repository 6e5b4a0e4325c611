//! The bytes of a text at which a splitter has to look: delimiters, quotes, line ends and NULs.

/// Bytes that are looked at in one step.
const BLOCK: usize = 64;
/// Bytes of which the bits are gathered in one step.
const EIGHT: usize = 8;

/// Goes through the marks of a text in order. The text is handed in with each step and must stay the same between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    delimiter: u8,
    /// Where the current block begins.
    block: usize,
    /// The marks of the current block that are still to come, its first byte in the lowest bit.
    unseen: u64,
    /// Where the next block begins.
    next_block: usize,
}

impl Marks {
    /// From the beginning of a text.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            block: 0,
            unseen: 0,
            next_block: 0,
        }
    }

    /// From this place of another text.
    pub(super) fn restart(&mut self, place: usize) {
        (self.block, self.unseen, self.next_block) = (place, 0, place);
    }

    /// The place of the next mark.
    #[inline]
    pub(super) fn next(&mut self, text: &[u8]) -> Option<usize> {
        while self.unseen == 0 {
            self.take_block(text)?;
        }
        let place = self.block + self.unseen.trailing_zeros() as usize;
        self.unseen &= self.unseen - 1;
        Some(place)
    }

    /// Looks at the next block; `None` at the end of the text.
    #[inline(never)]
    fn take_block(&mut self, text: &[u8]) -> Option<()> {
        let rest = text.get(self.next_block..)?;
        self.block = self.next_block;
        if let Some(block) = rest.first_chunk() {
            self.unseen = marks_of(block, self.delimiter);
            self.next_block += BLOCK;
        } else {
            if rest.is_empty() {
                return None;
            }
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            // Those beyond the end of the text are none.
            self.unseen = marks_of(&block, self.delimiter) & ((1 << rest.len()) - 1);
            self.next_block = text.len();
        }
        Some(())
    }
}

/// A bit for each mark, that of the first byte the lowest.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without a branch many bytes are compared in one step"
)]
fn marks_of(block: &[u8; BLOCK], delimiter: u8) -> u64 {
    let mut is_mark = [0; BLOCK];
    for (is_mark, byte) in is_mark.iter_mut().zip(*block) {
        let is = (byte == delimiter) | (byte == b'"') | (byte == b'\n') | (byte == b'\r');
        *is_mark = u8::from(is | (byte == 0));
    }
    let (eights, _) = is_mark.as_chunks::<EIGHT>();
    eights.iter().rev().fold(0, |marks, eight| {
        // The product has the lowest bit of each byte side by side in its highest byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        marks << EIGHT | bits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], from: usize) {
        let mut marks = Marks::new(b';');
        marks.restart(from);
        let found: Vec<usize> = std::iter::from_fn(|| marks.next(text)).collect();
        let expected: Vec<usize> = (from..text.len())
            .filter(|place| matches!(text[*place], b';' | b'"' | b'\n' | b'\r' | 0))
            .collect();
        assert_eq!(found, expected, "{text:?} from {from}");
    }

    #[test]
    fn every_mark_is_met_wherever_it_stands() {
        for length in 0..3 * BLOCK {
            let bare = vec![b'a'; length];
            check(&bare, 0);
            check(&vec![b'"'; length], length / 2);
            for place in 0..length {
                for mark in [b';', b'"', b'\n', b'\r', 0] {
                    let mut text = bare.clone();
                    text[place] = mark;
                    check(&text, 0);
                    check(&text, place / 2);
                }
            }
        }
    }

    #[test]
    fn no_other_byte_is_a_mark() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for from in 0..BLOCK {
            check(&all, from);
        }
    }
}

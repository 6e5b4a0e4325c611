//! The bytes of a text at which a splitter has to look: delimiters, quotes, line ends and NULs.

/// Bytes that are looked at in one step.
const BLOCK_BYTES: usize = 64;
/// Bytes of which the bits are gathered in one step.
const WORD: usize = 8;

/// Goes through the marks of a text in order. The text is handed in with each step and must stay the same between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct StructuralScanner {
    delimiter: u8,
    /// Where the current block begins.
    block: usize,
    /// The marks of the current block that are still to come, its first byte in the lowest bit.
    remaining: u64,
    /// Where the next block begins.
    next_block: usize,
}

impl StructuralScanner {
    /// From the beginning of a text.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            block: 0,
            remaining: 0,
            next_block: 0,
        }
    }

    /// From this place of another text.
    pub(super) fn reset_to(&mut self, position: usize) {
        (self.block, self.remaining, self.next_block) = (position, 0, position);
    }

    /// The place of the next mark.
    #[inline]
    pub(super) fn next(&mut self, text: &[u8]) -> Option<usize> {
        while self.remaining == 0 {
            self.load_block(text)?;
        }
        let position = self.block + self.remaining.trailing_zeros() as usize;
        self.remaining &= self.remaining - 1;
        Some(position)
    }

    /// Looks at the next block; `None` at the end of the text.
    #[inline(never)]
    fn load_block(&mut self, text: &[u8]) -> Option<()> {
        let rest = text.get(self.next_block..)?;
        self.block = self.next_block;
        if let Some(block) = rest.first_chunk() {
            self.remaining = structural_bits(block, self.delimiter);
            self.next_block += BLOCK_BYTES;
        } else {
            if rest.is_empty() {
                return None;
            }
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            // Those beyond the end of the text are none.
            self.remaining = structural_bits(&block, self.delimiter) & ((1 << rest.len()) - 1);
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
fn structural_bits(block: &[u8; BLOCK_BYTES], delimiter: u8) -> u64 {
    let mut is_structural = [0; BLOCK_BYTES];
    for (is_structural, byte) in is_structural.iter_mut().zip(*block) {
        let is = (byte == delimiter) | (byte == b'"') | (byte == b'\n') | (byte == b'\r');
        *is_structural = u8::from(is | (byte == 0));
    }
    let (words, _) = is_structural.as_chunks::<WORD>();
    words.iter().rev().fold(0, |bits, word| {
        // The product has the lowest bit of each byte side by side in its highest byte.
        let low_bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits << WORD | low_bits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], from: usize) {
        let mut scanner = StructuralScanner::new(b';');
        scanner.reset_to(from);
        let found: Vec<usize> = std::iter::from_fn(|| scanner.next(text)).collect();
        let expected: Vec<usize> = (from..text.len())
            .filter(|position| matches!(text[*position], b';' | b'"' | b'\n' | b'\r' | 0))
            .collect();
        assert_eq!(found, expected, "{text:?} from {from}");
    }

    #[test]
    fn structural_byte_is_found_at_any_offset() {
        for length in 0..3 * BLOCK_BYTES {
            let bare = vec![b'a'; length];
            check(&bare, 0);
            check(&vec![b'"'; length], length / 2);
            for position in 0..length {
                for mark in [b';', b'"', b'\n', b'\r', 0] {
                    let mut text = bare.clone();
                    text[position] = mark;
                    check(&text, 0);
                    check(&text, position / 2);
                }
            }
        }
    }

    #[test]
    fn other_bytes_are_not_structural() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for from in 0..BLOCK_BYTES {
            check(&all, from);
        }
    }
}

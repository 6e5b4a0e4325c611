//! Finds the bytes of a text that matter for splitting it: delimiters, quotes, CR, LF and NUL. Does not
//! interpret them.

/// Bytes compared in one step.
const BLOCK_BYTES: usize = 64;
/// Bytes whose bits are packed in one step.
const WORD_BYTES: usize = 8;

/// Iterates over the structural bytes of a text. The caller passes the text to each call; it must not change between
/// calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct StructuralScanner {
    delimiter: u8,
    /// Offset of the current block.
    block: usize,
    /// Structural bytes of the current block that were not returned yet; the lowest bit is the first byte.
    remaining: u64,
    /// Offset of the next block.
    next_block: usize,
}

impl StructuralScanner {
    /// Starts at the beginning of a text.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            block: 0,
            remaining: 0,
            next_block: 0,
        }
    }

    /// Continues at this offset, possibly of another text.
    pub(super) fn reset_to(&mut self, position: usize) {
        (self.block, self.remaining, self.next_block) = (position, 0, position);
    }

    /// The offset of the next structural byte.
    #[inline]
    pub(super) fn next(&mut self, text: &[u8]) -> Option<usize> {
        while self.remaining == 0 {
            self.load_block(text)?;
        }
        let position = self.block + self.remaining.trailing_zeros() as usize;
        self.remaining &= self.remaining - 1;
        Some(position)
    }

    /// Loads the next block. Returns `None` at the end of the text.
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
            // Mask the padding, which consists of NULs.
            self.remaining = structural_bits(&block, self.delimiter) & ((1 << rest.len()) - 1);
            self.next_block = text.len();
        }
        Some(())
    }
}

/// A bit for each structural byte; the lowest bit is the first byte.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "branch-free code lets the compiler compare many bytes in one step"
)]
fn structural_bits(block: &[u8; BLOCK_BYTES], delimiter: u8) -> u64 {
    let mut is_structural = [0; BLOCK_BYTES];
    for (is_structural, byte) in is_structural.iter_mut().zip(*block) {
        let is_match = (byte == delimiter) | (byte == b'"') | (byte == b'\n') | (byte == b'\r');
        *is_structural = u8::from(is_match | (byte == 0));
    }
    let (words, _) = is_structural.as_chunks::<WORD_BYTES>();
    words.iter().rev().fold(0, |bits, word| {
        // The highest byte of the product contains the lowest bit of each byte.
        let low_bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits << WORD_BYTES | low_bits
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
            let plain = vec![b'a'; length];
            check(&plain, 0);
            check(&vec![b'"'; length], length / 2);
            for position in 0..length {
                for byte in [b';', b'"', b'\n', b'\r', 0] {
                    let mut text = plain.clone();
                    text[position] = byte;
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

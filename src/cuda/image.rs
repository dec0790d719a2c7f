//! Images as files: what a compiler made, with a seal that tells whether it is whole.

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"icpoimg1";
const SEAL: usize = 4 + 4 + 8 + 32 + MAGIC.len();

/// A compiled unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the compiler made.
    pub code: Vec<u8>,
    /// The CUDA version of the compiler. A driver of an older major version can not load the code.
    pub toolkit: (u32, u32),
}

impl Image {
    /// The bytes of its file: the code, the version, the length, and a hash of all three.
    pub fn sealed(&self) -> Vec<u8> {
        let mut file = self.code.clone();
        file.extend(self.toolkit.0.to_le_bytes());
        file.extend(self.toolkit.1.to_le_bytes());
        file.extend((self.code.len() as u64).to_le_bytes());
        let hash = Sha256::digest(&file);
        file.extend(hash);
        file.extend(MAGIC);
        file
    }

    /// The image of such a file, if it is whole.
    pub fn unsealed(mut file: Vec<u8>) -> Option<Self> {
        let length = file.len().checked_sub(SEAL)?;
        let (body, magic) = file.split_at(file.len() - MAGIC.len());
        let (body, hash) = body.split_at(body.len() - 32);
        let (_, numbers) = body.split_at(length);
        if magic != MAGIC || Sha256::digest(body).as_slice() != hash {
            return None;
        }
        let (major, rest) = numbers.split_first_chunk::<4>()?;
        let (minor, rest) = rest.split_first_chunk::<4>()?;
        let (stated, _) = rest.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*stated) != length as u64 {
            return None;
        }
        let toolkit = (u32::from_le_bytes(*major), u32::from_le_bytes(*minor));
        file.truncate(length);
        Some(Self { code: file, toolkit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_breaks_wherever_the_file_is_touched() {
        let image = Image { code: (0..=255).collect(), toolkit: (13, 2) };
        let file = image.sealed();
        assert_eq!(Image::unsealed(file.clone()), Some(image));
        for place in 0..file.len() {
            let mut flipped = file.clone();
            flipped[place] ^= 1 << (place % 8);
            assert_eq!(Image::unsealed(flipped), None, "bit of byte {place}");
            assert_eq!(Image::unsealed(file[..place].to_vec()), None, "cut at {place}");
            assert_eq!(Image::unsealed(file[place + 1..].to_vec()), None, "from {place}");
        }
        assert_eq!(Image::unsealed([file.clone(), file].concat()), None);
    }

    #[test]
    fn an_empty_image_is_whole() {
        let image = Image { code: Vec::new(), toolkit: (12, 0) };
        assert_eq!(Image::unsealed(image.sealed()), Some(image));
    }
}

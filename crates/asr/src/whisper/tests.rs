//! Model files that are broken or hostile.

use std::io::Write;

use candle_core::DType;
use tempfile::{NamedTempFile, TempDir};

use super::*;

#[test]
fn rows_of_a_matrix_become_tensors_of_their_own() {
    let mut file = ct2_head(6, "WhisperSpec", 2);
    variable(&mut file, "encoder/layer_0/self_attention/linear_0/weight", &[6, 2], 0, 48);
    variable(&mut file, "decoder/layer_norm/gamma", &[3], 4, 6);
    let index = read_ct2(&file).unwrap();
    let entry = |name: &str| index[&format!("model.{name}")].clone();
    let query = entry("encoder.layers.0.self_attn.q_proj.weight");
    assert_eq!((query.shape.as_slice(), query.dtype), ([2, 2].as_slice(), DType::F32));
    let value = entry("encoder.layers.0.self_attn.v_proj.weight");
    assert_eq!(value.offset, query.offset + 2 * 16);
    assert_eq!(entry("decoder.layer_norm.weight").dtype, DType::F16);
}

#[test]
fn broken_ct2_files_are_refused() {
    let check = |file: &[u8], expected: &str| check_error(&read_ct2(file).unwrap_err(), expected);
    check(b"", "the file ends within its headers");
    check(&ct2_head(2, "WhisperSpec", 0), "format version 2");
    check(&ct2_head(6, "TransformerSpec", 0), "a model of kind `TransformerSpec`");
    check(&ct2_head(6, "WhisperSpec", u32::MAX), "4294967295 variables");
    check(&ct2_head(6, "WhisperSpec", 1), "the file ends within its headers");
    let with = |shape: &[u32], code, bytes| {
        let mut file = ct2_head(6, "WhisperSpec", 1);
        variable(&mut file, "decoder/embeddings/weight", shape, code, bytes);
        file
    };
    check(&with(&[2, 2], 1, 4), "8-bit weights");
    check(&with(&[2, 2], 9, 4), "type 9 of variable");
    check(&with(&[2, 2], 0, 4), "variable `decoder/embeddings/weight` has 4 bytes");
    check(&with(&[u32::MAX, u32::MAX], 0, 4), "has 4 bytes");
    check(&with(&[1; 9], 0, 4), "has 9 dimensions");
}

#[test]
fn a_tensor_beyond_the_file_is_refused() {
    let mut file = ct2_head(6, "WhisperSpec", 1);
    variable(&mut file, "decoder/embeddings/weight", &[4, 4], 0, 64);
    file.truncate(file.len() - 1);
    let (named, path) = stored(&file);
    let index = ct2::index(&path, named.as_file()).unwrap();
    let error = WeightFile::new(&path, named.reopen().unwrap(), index).unwrap_err();
    check_error(&error, "tensor `model.decoder.embed_tokens.weight` reaches beyond the end");
}

#[test]
fn safetensors_headers_are_checked() {
    let check = |length: u64, header: &str, expected: &str| {
        let mut file = length.to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        let (named, path) = stored(&file);
        match safetensors::index(&path, named.as_file()) {
            Ok(index) => assert_eq!(format!("{}", index.len()), expected),
            Err(error) => check_error(&error, expected),
        }
    };
    let tensor = |dtype: &str, end: u64| {
        format!(r#"{{"__metadata__":{{}},"a":{{"dtype":"{dtype}","shape":[2,2],"data_offsets":[0,{end}]}}}}"#)
    };
    let length = |header: &str| header.len() as u64;
    let good = tensor("F16", 8);
    check(length(&good), &good, "1");
    check(u64::MAX, "", "a header of 18446744073709551615 bytes");
    check(10, "not json!!", "is not usable");
    check(length(&tensor("F16", 9)), &tensor("F16", 9), "tensor `a` has bytes 0 to 9");
    check(length(&tensor("I64", 32)), &tensor("I64", 32), "type I64 of tensor `a`");
}

#[test]
fn a_folder_without_a_model_says_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let load = || Model::load(folder.path(), &Device::Cpu).unwrap_err();
    check_error(&load(), "expected `model.bin` (CTranslate2) or `model.safetensors`");
    std::fs::write(folder.path().join("model.bin"), ct2_head(6, "WhisperSpec", 0)).unwrap();
    check_error(&load(), "tensor `model.encoder.conv1.weight` is missing");
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let folder = TempDir::new().unwrap();
    let mut file = ct2_head(6, "WhisperSpec", 2);
    variable(&mut file, "encoder/conv1/weight", &[63, 80, 3], 4, 63 * 80 * 3 * 2);
    variable(&mut file, "decoder/embeddings/weight", &[10, 63], 4, 10 * 63 * 2);
    std::fs::write(folder.path().join("model.bin"), file).unwrap();
    let error = Model::load(folder.path(), &Device::Cpu).unwrap_err();
    check_error(&error, "a network of these sizes");
}

fn check_error(error: &LoadError, expected: &str) {
    assert!(error.to_string().contains(expected), "{error}, not {expected}");
}

fn read_ct2(file: &[u8]) -> Result<HashMap<String, Entry>, LoadError> {
    let (named, path) = stored(file);
    ct2::index(&path, named.as_file())
}

fn stored(content: &[u8]) -> (NamedTempFile, std::path::PathBuf) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let path = file.path().to_owned();
    let reopened = file.reopen().unwrap();
    let file = NamedTempFile::from_parts(reopened, file.into_temp_path());
    (file, path)
}

fn ct2_head(version: u32, specification: &str, variables: u32) -> Vec<u8> {
    let mut file = version.to_le_bytes().to_vec();
    string(&mut file, specification);
    file.extend(3_u32.to_le_bytes());
    file.extend(variables.to_le_bytes());
    file
}

fn variable(file: &mut Vec<u8>, name: &str, shape: &[u32], code: u8, bytes: u32) {
    string(file, name);
    file.push(shape.len() as u8);
    for dim in shape {
        file.extend(dim.to_le_bytes());
    }
    file.push(code);
    file.extend(bytes.to_le_bytes());
    file.resize(file.len() + bytes as usize, 0);
}

fn string(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u16 + 1).to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    file.push(0);
}

use proptest::prelude::*;

use super::*;

#[test]
fn fields_are_read_as_their_schema_says() {
    // The examples of the format's own documentation: 150, "testing", a message, packed numbers.
    check(&[0x08, 0x96, 0x01], &|field| assert_eq!((field.number, field.u64()), (1, Ok(150))));
    check(b"\x12\x07testing", &|field| assert_eq!((field.number, field.text()), (2, Ok("testing"))));
    check(&[0x1a, 0x03, 0x08, 0x96, 0x01], &|field| {
        let inner = field.message().unwrap().next().unwrap().unwrap();
        assert_eq!((inner.number, inner.u64(), inner.offset), (1, Ok(150), 3));
    });
    check(&[0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05], &|field| {
        let mut values = Vec::new();
        field
            .each_u64(|value| {
                values.push(value);
                Ok::<_, ProtobufError>(())
            })
            .unwrap();
        assert_eq!(values, [3, 270, 86_942]);
    });
    check(&[0x08, 0x01], &|field| assert_eq!(field.sint32(), Ok(-1)));
    check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &|field| {
        assert_eq!((field.i64(), field.i32()), (Ok(-1), Ok(-1)));
    });
}

#[test]
fn errors_name_their_offset() {
    let check = |bytes: &[u8], expected: &str| {
        let error = Message::new(bytes).find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), expected);
    };
    check(&[0x08], "offset 1: message ends within a field");
    check(&[0x08, 0x80], "offset 1: message ends within a field");
    check(&[0x08, 0x01, 0x12, 0x05, b'a'], "offset 4: message ends within a field");
    check(&[0x08, 0x01, 0x0b], "offset 2: unsupported wire type: 3");
    check(&[0x00, 0x01], "offset 0: invalid field number: 0");
    check(
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        "offset 1: varint has more than 64 bits",
    );
    let field = Message::new(b"\x12\x03a\xffb").next().unwrap().unwrap();
    assert_eq!(field.text().unwrap_err().to_string(), "offset 3: field 2 is not UTF-8");
    assert_eq!(field.double().unwrap_err().to_string(), "offset 2: field 2 is not a 64-bit value");
}

#[test]
fn delimited_messages_follow_one_another() {
    let mut writer = Writer::new();
    writer.delimited(|message| message.uint(1, 7));
    writer.delimited(|_empty| ());
    let bytes = writer.into_bytes();
    let mut stream = Message::new(&bytes);
    let fields = |message: Option<Message<'_>>| message.map(|message| message.map(Result::unwrap).count());
    assert_eq!(fields(stream.delimited().unwrap()), Some(1));
    assert_eq!(fields(stream.delimited().unwrap()), Some(0));
    assert_eq!(fields(stream.delimited().unwrap()), None);
    let error = Message::new(&bytes[..2]).delimited().unwrap_err();
    assert_eq!(error.to_string(), "offset 1: message ends within a field");
}

proptest! {
    #[test]
    fn what_is_written_is_read(unsigned: u64, signed: i64, bits: u64, text: String, values: Vec<i64>, doubles: Vec<u64>) {
        let value = f64::from_bits(bits);
        let doubles: Vec<_> = doubles.into_iter().map(f64::from_bits).collect();
        let mut writer = Writer::new();
        writer.message(9, |message| {
            message.oneof_uint(1, unsigned);
            message.int(2, signed);
            message.oneof_double(3, value);
            message.element(4, &text);
            message.packed_sint(5, values.iter().copied());
            message.packed_double(6, &doubles);
        });
        let bytes = writer.into_bytes();
        let outer = Message::new(&bytes).next().unwrap().unwrap();
        let (mut read, mut read_doubles) = (Vec::new(), Vec::new());
        for field in outer.message().unwrap() {
            let field = field.unwrap();
            match field.number {
                1 => prop_assert_eq!(field.u64().unwrap(), unsigned),
                2 => prop_assert_eq!(field.i64().unwrap(), signed),
                3 => prop_assert_eq!(field.double().unwrap().to_bits(), bits),
                4 => prop_assert_eq!(field.text().unwrap(), &text),
                5 => field.each_sint64(|value| { read.push(value); Ok::<_, ProtobufError>(()) }).unwrap(),
                _ => field.each_double(|value| { read_doubles.push(value.to_bits()); Ok::<_, ProtobufError>(()) }).unwrap(),
            }
        }
        prop_assert_eq!(read, values);
        prop_assert_eq!(read_doubles, doubles.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_end_in_fields_or_one_error(bytes: Vec<u8>) {
        let results: Vec<_> = Message::new(&bytes).collect();
        prop_assert!(results.iter().rev().skip(1).all(Result::is_ok));
        for field in results.into_iter().flatten() {
            prop_assert!(field.offset <= bytes.len());
            drop((field.text(), field.double(), field.each_sint64(|_value| Ok::<_, ProtobufError>(()))));
        }
    }
}

#[track_caller]
fn check(bytes: &[u8], look: &dyn Fn(Field<'_>)) {
    let fields: Vec<_> = Message::new(bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(fields.len(), 1);
    look(fields[0]);
}

// SPDX-License-Identifier: Apache-2.0
#include "malformed.hpp"

namespace malformed {
namespace {

using cull::errc;

/// Rows 1 to 8 and 61: what stands before the JSON text.
void add_lengths(corpus& to) {
  to.bytes(1, "empty file", errc::too_short, "");
  to.bytes(1, "7 bytes", errc::too_short, "\x02\0\0\0\0\0\0");
  to.bytes(1, "7 zero bytes", errc::too_short, std::string(7, '\0'));
  to.bytes(2, "length 0", errc::header_empty, length(0));
  to.bytes(2, "length 0 with data", errc::header_empty, length(0) + "{}xx");
  to.bytes(3, "length 2^64-1", errc::header_too_large, length(~std::uint64_t{0}) + "{}");
  to.bytes(3, "length 2^64-8", errc::header_too_large, length(~std::uint64_t{0} - 7) + "{}");
  to.bytes(3, "length 2^63", errc::header_too_large, length(std::uint64_t{1} << 63) + "{}");
  to.bytes(3, "length 2^63-1", errc::header_too_large, length((std::uint64_t{1} << 63) - 1) + "{}");
  to.bytes(3, "length 2^32", errc::header_too_large, length(std::uint64_t{1} << 32) + "{}");
  to.bytes(4, "length 100,000,001", errc::header_too_large, length(100'000'001) + "{}");
  to.bytes(4, "length 100,000,000 of a small file", errc::header_past_end, length(100'000'000) + "{}");
  to.add({.row = 4,
          .name = "length 100,000,000, padding",
          .bytes = [] { return file("{}" + std::string(99'999'998, ' ')); },
          .tensors = 0,
          .large = true});
  to.add({.row = 4,
          .name = "length 100,000,000, one string",
          .bytes = [] { return file("{\"__metadata__\":{\"a\":\"" + std::string(99'999'974, 'x') + "\"}}"); },
          .tensors = 0,
          .large = true});
  to.bytes(5, "length one past the end", errc::header_past_end, length(3) + "{}");
  to.bytes(5, "length of the whole file", errc::header_past_end, length(10) + "{}");
  auto const one = "{" + entry("a", "U8", "[4]", "[0,4]") + "}";
  to.bytes(6, "length one short", errc::json_syntax, length(one.size() - 1) + one + "xxxx", 8 + one.size() - 2);
  to.bytes(6, "length one long", errc::json_trailing, length(one.size() + 1) + one + "xxxx", 8 + one.size());
  to.bytes(6, "length one long, data not UTF-8", errc::json_trailing, length(one.size() + 1) + one + "\xff\xff\xff\xff",
           8 + one.size());
  to.legal(7, "no tensors", "{}", 0, 0);
  to.bytes(8, "no tensors, one byte", errc::trailing_data, file("{}", 1), 10);

  to.bytes(61, "git-lfs pointer", errc::not_safetensors,
           "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
  to.bytes(61, "web page", errc::not_safetensors, "<!DOCTYPE html>\n<html><body>404</body></html>");
  to.bytes(61, "web page, other case", errc::not_safetensors, "\r\n <HTML lang=\"en\"><head></head></HTML>");
  to.bytes(61, "XML", errc::not_safetensors, "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>");
  to.bytes(61, "server's message", errc::not_safetensors, "Entry not found");
  to.bytes(61, "JSON", errc::not_safetensors, "{\"error\":\"Repository not found\"}");
  to.bytes(61, "gzip", errc::not_safetensors, std::string{"\x1f\x8b\x08\0\0\0\0\0\0\x03 data", 15});
  to.bytes(61, "zstd", errc::not_safetensors, "\x28\xb5\x2f\xfd 0123456789");
  to.bytes(61, "xz", errc::not_safetensors, std::string{"\xfd\x37zXZ\0 0123456789", 17});
  to.bytes(61, "torch zip", errc::not_safetensors, "PK\x03\x04 archive/data.pkl");
  to.bytes(61, "GGUF", errc::not_safetensors, std::string{"GGUF\x03\0\0\0\0\0\0\0", 12});
  to.bytes(61, "HDF5", errc::not_safetensors, "\x89HDF\r\n\x1a\n 01234567");
  to.bytes(61, "NumPy", errc::not_safetensors, std::string{"\x93NUMPY\x01\0v\0'descr'", 17});
  for (char const version : {'\x02', '\x03', '\x04', '\x05'}) {
    to.bytes(61, "pickle of version " + std::to_string(int{version}), errc::not_safetensors,
             std::string{"\x80"} + version + "}q\x01X\x01 data");
  }
  to.add({.row = 61,
          .name = "a header of 640 bytes begins like a pickle",
          .bytes = [] { return file("{}" + std::string(638, ' ')); },
          .tensors = 0});
}

/// Rows 9 to 18 and 58: the text as JSON.
void add_texts(corpus& to) {
  auto const named = [](std::string const& name) { return "{" + entry(name, "U8", "[4]", "[0,4]") + "}"; };
  to.bad(9, "a byte 0xff in a name", errc::bad_utf8, named("a^\xff"));
  to.bad(9, "overlong NUL", errc::bad_utf8, named("^\xc0\x80"));
  to.bad(9, "overlong slash of three bytes", errc::bad_utf8, named("^\xe0\x80\xaf"));
  to.bad(9, "encoded surrogate", errc::bad_utf8, named("^\xed\xa0\x80"));
  to.bad(9, "beyond U+10FFFF", errc::bad_utf8, named("^\xf4\x90\x80\x80"));
  to.bad(9, "a character cut by the quote", errc::bad_utf8, named("^\xe2\x82"));
  to.bad(9, "a lone continuation, behind many characters", errc::bad_utf8, named("0123456789012345678^\x80"));
  to.bad(9, "in a metadata value", errc::bad_utf8, "{\"__metadata__\":{\"a\":\"^\xf8\"}}", 0);
  to.legal(9, "good UTF-8 of every length", named("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf"), 4, 1);
  to.bad(10, "lone high surrogate", errc::json_syntax, named("\\ud800"));
  to.bad(10, "lone low surrogate", errc::json_syntax, named("\\udc00"));
  to.bad(10, "high surrogate twice", errc::json_syntax, named("\\ud800\\ud800"));
  to.bad(10, "bad hex escape", errc::json_syntax, named("\\u00g0"));
  to.bad(10, "short hex escape", errc::json_syntax, named("\\u00"));
  to.bad(10, "unknown escape", errc::json_syntax, named("\\x41"));
  to.bad(10, "escape at the end", errc::json_syntax, "{\"a\\", 0);
  to.legal(10, "surrogate pair", named("\\ud83d\\ude00"), 4, 1);
  to.bad(11, "raw newline in a name", errc::json_syntax, named("a\nb"));
  to.bad(11, "raw tab in a name", errc::json_syntax, named("a\tb"));
  to.bad(11, "raw NUL in a name", errc::json_syntax, named(std::string{"a\0b", 3}));
  to.bad(12, "escaped NUL in a name", errc::bad_name, "{^" + entry("a\\u0000", "U8", "[4]", "[0,4]") + "}", 4, {},
         std::string{"a\0", 2});
  to.bad(12, "escaped NUL in a metadata key", errc::bad_name, "{\"__metadata__\":{^\"a\\u0000\":\"b\"}}", 0);
  to.add({.row = 12,
          .name = "escaped NUL, allowed",
          .bytes = [=] { return file(named("a\\u0000"), 4); },
          .tensors = 1,
          .allowed = {.nul_in_names = true}});
  to.bad(13, "byte order mark", errc::header_not_object, "^\xef\xbb\xbf{}", 0);
  to.bad(14, "leading space", errc::header_not_object, "^ {}", 0);
  to.bad(14, "leading newline", errc::header_not_object, "^\n{}", 0);
  to.bad(14, "nothing but spaces", errc::header_not_object, "^    ", 0);
  to.add({.row = 14,
          .name = "leading space, allowed",
          .bytes = [=] { return file(" \n\t\r" + named("a"), 4); },
          .tensors = 1,
          .allowed = {.leading_space = true}});
  to.add({.row = 14,
          .name = "nothing but spaces, allowed",
          .bytes = [] { return file("    "); },
          .expected = errc::header_not_object,
          .byte = 12,
          .allowed = {.leading_space = true}});
  to.legal(15, "trailing spaces", "{}      ", 0, 0);
  to.legal(15, "trailing white space of other kinds", "{}\t\n\r ", 0, 0);
  to.bad(16, "trailing NUL", errc::json_trailing, std::string{"{}^\0\0\0\0", 7}, 0);
  to.bad(16, "NUL between tokens", errc::json_syntax, std::string{"{\0}", 3}, 0);
  to.bad(17, "a letter behind", errc::json_trailing, "{}^x", 0);
  to.bad(17, "two objects", errc::json_trailing, "{} ^{}", 0);
  to.bad(17, "a comma behind", errc::json_trailing, "{}^,", 0);
  for (auto const root : {"[]", "null", "\"a\"", "1", "true", "[{}]"}) {
    to.bad(18, std::string{"the root is "} + root, errc::header_not_object, std::string{"^"} + root, 0);
  }
  to.bad(58, "trailing comma", errc::json_syntax, "{" + entry("a", "U8", "[4]", "[0,4]") + ",}");
  to.bad(58, "trailing comma in a shape", errc::json_syntax, "{" + entry("a", "U8", "[4,]", "[0,4]") + "}");
  to.bad(58, "comment", errc::json_syntax, "{^/* */}", 0);
  to.bad(58, "line comment", errc::json_syntax, "{^//\n}", 0);
  to.bad(58, "single quotes", errc::json_syntax, "{^'a':1}", 0);
  to.bad(58, "no quotes", errc::json_syntax, "{^a:1}", 0);
  to.bad(58, "NaN as a value", errc::json_syntax, "{\"a\":^NaN}", 0);
  to.bad(58, "no colon", errc::json_syntax, "{\"a\"^}", 0);
  to.bad(58, "no comma", errc::json_syntax,
         "{" + entry("a", "U8", "[4]", "[0,4]") + " ^" + entry("b", "U8", "[0]", "[4,4]") + "}");
  to.bad(58, "numbers without a comma", errc::json_syntax, "{" + entry("a", "U8", "[4 ^5]", "[0,4]") + "}");
  to.bad(58, "a list closed as an object", errc::json_syntax, "{" + entry("a", "U8", "[4^}", "[0,4]") + "}");
  to.bad(58, "an object closed as a list", errc::json_syntax, "{^]", 0);
  to.bad(58, "an open object", errc::json_syntax, "{", 0);
  to.bad(58, "an open string", errc::json_syntax, "{\"a", 0);
}

/// Rows 19 to 29, 59 and 60: keys and fields.
void add_entries(corpus& to) {
  auto const a = entry("a", "U8", "[4]", "[0,4]");
  auto const around = [](std::string const& inner) { return "{\"a\":{" + inner + "}}"; };
  to.bad(19, "a tensor twice, same range", errc::duplicate_key, "{" + a + ",^" + a + "}", 4, "/a", "a");
  to.bad(20, "a tensor twice, other range", errc::duplicate_key, "{" + a + ",^" + entry("a", "U8", "[4]", "[4,8]") + "}", 8, "/a",
         "a");
  to.bad(20, "a tensor twice, other type", errc::duplicate_key, "{" + a + ",^" + entry("a", "F32", "[1]", "[0,4]") + "}", 4, "/a",
         "a");
  to.bad(20, "a tensor twice, one escaped", errc::duplicate_key, "{" + a + ",^" + entry("\\u0061", "U8", "[4]", "[0,4]") + "}", 4,
         "/a", "a");
  to.bad(20, "a tensor twice, another between", errc::duplicate_key,
         "{" + a + "," + entry("b", "U8", "[0]", "[4,4]") + ",^" + a + "}", 4, "/a", "a");
  to.bad(21, "__metadata__ twice", errc::duplicate_key, "{\"__metadata__\":{},^\"__metadata__\":{}}", 0);
  to.bad(21, "__metadata__ twice, one null", errc::duplicate_key, "{\"__metadata__\":null,^\"__metadata__\":{}}", 0);
  to.bad(21, "__metadata__ twice, one escaped", errc::duplicate_key, "{\"__metadata__\":{},^\"__met\\u0061data__\":{}}", 0);
  to.bad(21, "a metadata key twice", errc::duplicate_key, "{\"__metadata__\":{\"k\":\"1\",^\"k\":\"1\"}}", 0, "/__metadata__/k");
  to.bad(21, "a metadata key twice, one escaped", errc::duplicate_key, "{\"__metadata__\":{\"k\":\"1\",^\"\\u006b\":\"2\"}}", 0,
         "/__metadata__/k");
  to.bad(22, "dtype twice", errc::duplicate_key, around(R"("dtype":"U8",^"dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4,
         "/a/dtype", "a");
  to.bad(22, "shape twice", errc::duplicate_key, around(R"("dtype":"U8","shape":[4],^"shape":[4],"data_offsets":[0,4])"), 4,
         "/a/shape", "a");
  to.bad(22, "data_offsets twice", errc::duplicate_key,
         around(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],^"data_offsets":[0,4])"), 4, "/a/data_offsets", "a");
  to.bad(22, "shape twice, one escaped", errc::duplicate_key,
         around(R"("dtype":"U8","shape":[4],^"sh\u0061pe":[4],"data_offsets":[0,4])"), 4, "/a/shape", "a");
  for (auto const value : {"1", "-1", "0.5", "null", "true", "{}", "[]", "{\"x\":\"y\"}"}) {
    to.bad(23, std::string{"a metadata value "} + value, errc::bad_metadata,
           std::string{"{\"__metadata__\":{\"k\":^"} + value + "}}", 0, "/__metadata__/k");
  }
  for (auto const value : {"[]", "1", "\"x\"", "true"}) {
    to.bad(23, std::string{"metadata is "} + value, errc::bad_metadata, std::string{"{\"__metadata__\":^"} + value + "}", 0,
           "/__metadata__");
  }
  to.legal(24, "metadata null", R"({"__metadata__":null})", 0, 0);
  to.legal(24, "metadata empty", R"({"__metadata__":{}})", 0, 0);
  to.legal(24, "metadata behind a tensor", "{" + a + ",\"__metadata__\":{\"format\":\"pt\",\"\":\"\"}}", 4, 1);
  to.bad(25, "a tensor called __metadata__", errc::bad_metadata,
         "{\"__metadata__\":{\"dtype\":\"U8\",\"shape\":^[4],\"data_offsets\":[0,4]}}", 4, "/__metadata__/shape");
  to.bad(26, "no dtype", errc::missing_field, around(R"("shape":[4],"data_offsets":[0,4]^)"), 4, "/a", "a");
  to.bad(26, "no shape", errc::missing_field, around(R"("dtype":"U8","data_offsets":[0,4]^)"), 4, "/a", "a");
  to.bad(26, "no data_offsets", errc::missing_field, around(R"("dtype":"U8","shape":[4]^)"), 4, "/a", "a");
  to.bad(26, "no field at all", errc::missing_field, around("^"), 4, "/a", "a");
  to.bad(26, "dtype in capitals", errc::unknown_field, around(R"(^"DTYPE":"U8","shape":[4],"data_offsets":[0,4])"), 4, "/a/DTYPE",
         "a");
  to.bad(27, "strides", errc::unknown_field, around(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],^"strides":[1])"), 4,
         "/a/strides", "a");
  for (auto const value : {"[[1],{\"x\":[]}]", "{\"dtype\":\"F32\"}", "null", "true", "-1.5e3", "7", "\"x\""}) {
    to.add({.row = 27,
            .name = std::string{"an unknown field, allowed: "} + value,
            .bytes =
                [=] {
                  return file(around(std::string{R"("note":)"} + value + R"(,"dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4);
                },
            .tensors = 1,
            .allowed = {.unknown_fields = true}});
  }
  for (auto const type : {"\"Q4\"", "\"f32\"", "\"\"", "\"F32 \"", "32", "null", "true", "[\"U8\"]", "{}", "-1", "1.5"}) {
    to.bad(28, std::string{"dtype "} + type, errc::unknown_dtype,
           around(std::string{"\"dtype\":^"} + type + R"(,"shape":[4],"data_offsets":[0,4])"), 4, "/a/dtype", "a");
  }
  to.legal(29, "a field's name escaped", around(R"("dty\u0070e":"U8","shape":[4],"data_offsets":[0,4])"), 4, 1);
  to.legal(29, "a type escaped", around(R"("dtype":"\u00558","shape":[4],"data_offsets":[0,4])"), 4, 1);
  to.legal(29, "fields in another order", around(R"("data_offsets":[0,4],"dtype":"U8","shape":[4])"), 4, 1);
  to.legal(29, "white space everywhere",
           "{ \"a\" : { \"dtype\" : \"U8\" ,\n\t\"shape\" : [ 4 ] , \"data_offsets\" : [ 0 , 4 ] } }", 4, 1);
  to.bad(59, "an entry as a list", errc::bad_entry, R"({"a":^["I32",[2,2],[0,16]]})", 16, "/a", "a");
  for (auto const value : {"true", "false", "null", "0", "-1", "1.5", "\"U8\""}) {
    to.bad(60, std::string{"an entry "} + value, errc::bad_entry, std::string{"{\"a\":^"} + value + "}", 4, "/a", "a");
  }
}

/// Rows 30 to 38, 46, 49 and 57: numbers and sizes.
void add_numbers(corpus& to) {
  auto const shaped = [](std::string const& shape, char const* type = "U8", char const* offsets = "[0,4]") {
    return "{" + entry("a", type, shape, offsets) + "}";
  };
  to.bad(30, "negative dimension", errc::bad_integer, shaped("[^-4]"), 4, "/a/shape/0", "a");
  to.bad(30, "two negative dimensions", errc::bad_integer, shaped("[^-2,-2]"), 4, "/a/shape/0", "a");
  for (auto const number : {"4.0", "4e0", "\"4\"", "04", "-0", "null", "true", "NaN", "Infinity", "+4", "0x4", "1e999", "{}"}) {
    to.bad(31, std::string{"dimension "} + number, errc::bad_integer, shaped(std::string{"[^"} + number + "]"), 4, "/a/shape/0",
           "a");
  }
  to.bad(31, "the second dimension is 2.0", errc::bad_integer, shaped("[2,^2.0]"), 4, "/a/shape/1", "a");
  to.bad(31, "shape is a number", errc::bad_shape, shaped("^4"), 4, "/a/shape", "a");
  to.bad(31, "shape is null", errc::bad_shape, shaped("^null"), 4, "/a/shape", "a");
  to.bad(31, "shape is a string", errc::bad_shape, shaped("^\"4\""), 4, "/a/shape", "a");
  to.bad(31, "shape is an object", errc::bad_shape, shaped("^{}"), 4, "/a/shape", "a");
  to.bad(31, "a list in the shape", errc::bad_shape, shaped("[^[4]]"), 4, "/a/shape/0", "a");
  to.bad(32, "dimension 2^64+1", errc::integer_range, shaped("[^18446744073709551617]"), 4, "/a/shape/0", "a");
  to.bad(32, "dimension of 60 digits", errc::integer_range, shaped("[^" + std::string(60, '9') + "]"), 4, "/a/shape/0", "a");
  to.bad(32, "dimension 2^63", errc::integer_range, shaped("[^9223372036854775808]"), 4, "/a/shape/0", "a");
  to.bad(33, "[2^32,2^32], no data", errc::size_overflow, shaped("[4294967296,4294967296]", "U8", "[0,0]"), 0, "/a", "a");
  to.bad(33, "[2^32,2^32], 1 MiB", errc::size_overflow, shaped("[4294967296,4294967296]", "U8", "[0,1048576]"), 1048576, "/a",
         "a");
  to.bad(34, "I64 [2^61]", errc::size_overflow, shaped("[2305843009213693952]", "I64", "[0,0]"), 0, "/a", "a");
  to.bad(34, "F4 [2^62,2^62,2^62]", errc::size_overflow,
         shaped("[4611686018427387904,4611686018427387904,4611686018427387904]", "F4", "[0,0]"), 0, "/a", "a");
  to.bad(34, "a product that wraps at 2^128", errc::size_overflow,
         shaped("[9223372036854775807,4611686018427387905]", "U8", "[0,4]"), 4, "/a", "a");
  to.bad(34, "U8 [2^63-1] in a small file", errc::size_mismatch, shaped("[9223372036854775807]", "U8", "[0,4]"), 4, "/a", "a");
  to.bad(35, "[0,2^64-1,2]", errc::integer_range, shaped("[0,^18446744073709551615,2]", "U8", "[0,0]"), 0, "/a/shape/1", "a");
  to.bad(35, "[2^64-1,2,0]", errc::integer_range, shaped("[^18446744073709551615,2,0]", "U8", "[0,0]"), 0, "/a/shape/0", "a");
  to.legal(35, "[0,2^63-1,2]", shaped("[0,9223372036854775807,2]", "U8", "[0,0]"), 0, 1);
  to.legal(35, "[2^63-1,2,0]", shaped("[9223372036854775807,2,0]", "U8", "[0,0]"), 0, 1);
  to.bad(36, "negative offset", errc::bad_integer, shaped("[4]", "U8", "[^-4,0]"), 4, "/a/data_offsets/0", "a");
  to.bad(36, "fractional offset", errc::bad_integer, shaped("[4]", "U8", "[0,^4.0]"), 4, "/a/data_offsets/1", "a");
  to.bad(36, "reversed offsets", errc::offset_order, shaped("[4]", "U8", "[4,0]"), 4, "/a", "a");
  to.bad(37, "one offset", errc::bad_shape, shaped("[4]", "U8", "[4^]"), 4, {}, "a");
  to.bad(37, "three offsets", errc::bad_shape, shaped("[4]", "U8", "[0,4,4^]"), 4, {}, "a");
  to.bad(37, "no offsets", errc::bad_shape, shaped("[4]", "U8", "[^]"), 4, {}, "a");
  to.bad(37, "offsets null", errc::bad_shape, shaped("[4]", "U8", "^null"), 4, "/a/data_offsets", "a");
  to.bad(37, "offsets as an object", errc::bad_shape, shaped("[4]", "U8", "^{\"0\":4}"), 4, "/a/data_offsets", "a");
  to.bad(38, "offset 2^64", errc::integer_range, shaped("[4]", "U8", "[0,^18446744073709551616]"), 4, "/a/data_offsets/1", "a");
  to.bad(38, "offset 2^64-1", errc::integer_range, shaped("[4]", "U8", "[^18446744073709551615,4]"), 4, "/a/data_offsets/0", "a");
  to.bad(38, "offset past the end", errc::truncated, shaped("[5]", "U8", "[0,5]"), 4, "/a/data_offsets", "a");
  to.bad(38, "offset far past the end", errc::truncated, shaped("[9223372036854775807]", "U8", "[0,9223372036854775807]"), 4,
         "/a/data_offsets", "a");
  to.bad(46, "too few bytes", errc::size_mismatch, shaped("[5]", "U8", "[0,4]"), 4, "/a", "a");
  to.bad(46, "too many bytes", errc::size_mismatch, shaped("[3]", "U8", "[0,4]"), 4, "/a", "a");
  to.bad(46, "elements taken for bytes", errc::size_mismatch, shaped("[4]", "F32", "[0,4]"), 4, "/a", "a");
  to.bad(46, "a scalar without bytes", errc::size_mismatch, shaped("[]", "F32", "[0,0]"), 0, "/a", "a");
  to.bad(46, "an empty tensor with bytes", errc::size_mismatch, shaped("[0]", "F32", "[0,4]"), 4, "/a", "a");
  to.legal(46, "a scalar", shaped("[]", "F32"), 4, 1);
  to.bad(49, "F4 of an odd number", errc::sub_byte, shaped("[3]", "F4", "[0,2]"), 2, "/a", "a");
  to.bad(49, "F6 that does not fill bytes", errc::sub_byte, shaped("[3]", "F6_E2M3", "[0,3]"), 3, "/a", "a");
  auto const dims = [](std::size_t n) { return "[1" + repeated(",1", n - 1) + "]"; };
  to.legal(57, "9 dimensions", shaped(dims(9), "U8", "[0,1]"), 1, 1);
  to.legal(57, "64 dimensions", shaped(dims(64), "U8", "[0,1]"), 1, 1);
  to.bad(57, "65 dimensions", errc::rank_too_large, shaped(dims(65), "U8", "[0,1]"), 1, "/a/shape/64", "a");
  to.add({.row = 57,
          .name = "10 million dimensions",
          .bytes = [=] { return file(shaped(dims(10'000'000), "U8", "[0,1]"), 1); },
          .expected = errc::rank_too_large,
          .large = true});
}

/// Rows 39 to 48: how tensors lie.
void add_tilings(corpus& to) {
  auto const pair = [](std::string const& a, std::string const& b) {
    return "{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}";
  };
  auto const tiling = [&](int row, char const* name, errc code, std::string const& json, std::size_t data, char const* tensor,
                          std::uint64_t offset) {
    to.add({.row = row,
            .name = name,
            .bytes = [=] { return file(json, data); },
            .expected = code,
            .byte = 8 + json.size() + offset,
            .pointer = std::string{"/"} + tensor + "/data_offsets",
            .tensor = tensor});
  };
  tiling(39, "first tensor not at 0", errc::hole, pair("[1,5]", "[5,9]"), 9, "a", 1);
  tiling(39, "first tensor far away", errc::hole, pair("[4000000000,4000000004]", "[4000000004,4000000008]"), 8, "a", 4000000000);
  tiling(40, "a hole", errc::hole, pair("[0,4]", "[5,9]"), 9, "b", 5);
  tiling(40, "a hole, order of keys reversed", errc::hole, pair("[5,9]", "[0,4]"), 9, "a", 5);
  tiling(41, "partial overlap", errc::overlap, pair("[0,4]", "[2,6]"), 6, "b", 2);
  tiling(41, "the same bytes", errc::overlap, pair("[0,4]", "[0,4]"), 4, "b", 0);
  tiling(41, "one inside the other", errc::overlap,
         "{" + entry("a", "U8", "[8]", "[0,8]") + "," + entry("b", "U8", "[4]", "[2,6]") + "}", 8, "b", 2);
  tiling(41, "overlap by one byte, the last", errc::overlap, pair("[0,4]", "[3,7]"), 7, "b", 3);
  auto const million = [](char const* shape, char const* offsets) {
    std::string json = "{";
    json.reserve(64'000'000);
    for (int i = 0; i < 1'000'000; ++i) json += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "U8", shape, offsets);
    return json + "}";
  };
  to.add({.row = 42,
          .name = "a million tensors on one range",
          .bytes = [=] { return file(million("[4]", "[0,4]"), 4); },
          .expected = errc::overlap,
          .large = true});
  to.add({.row = 43,
          .name = "a million tensors without bytes",
          .bytes = [=] { return file(million("[0]", "[0,0]")); },
          .tensors = 1'000'000,
          .large = true});
  auto const two = pair("[0,4]", "[4,8]");
  to.bytes(44, "one byte behind", errc::trailing_data, file(two, 9), 8 + two.size() + 8);
  to.bytes(44, "an archive behind", errc::trailing_data, file(two, 8) + "PK\x03\x04", 8 + two.size() + 8);
  to.add({.row = 44,
          .name = "bytes behind, allowed",
          .bytes = [=] { return file(two, 12); },
          .tensors = 2,
          .allowed = {.trailing_data = true}});
  tiling(45, "two bytes short", errc::truncated, two, 6, "b", 4);
  tiling(45, "no data", errc::truncated, two, 0, "a", 0);
  to.add({.row = 45,
          .name = "short, trailing data allowed",
          .bytes = [=] { return file(two, 7); },
          .expected = errc::truncated,
          .allowed = {.trailing_data = true}});
  auto const with_empty = [](std::string const& at) {
    return "{" + entry("a", "U8", "[4]", "[0,4]") + "," + entry("z", "U8", "[0]", "[" + at + "," + at + "]") + "}";
  };
  tiling(47, "an empty tensor inside another", errc::overlap, with_empty("2"), 4, "z", 2);
  tiling(47, "an empty tensor behind a hole", errc::hole, with_empty("5"), 4, "z", 5);
  to.legal(48, "an empty tensor at the start", with_empty("0"), 4, 2);
  to.legal(48, "an empty tensor at the end", with_empty("4"), 4, 2);
}

/// Rows 50 to 56: types, names, depth.
void add_others(corpus& to) {
  to.legal(50, "F4 [2,3]", "{" + entry("a", "F4", "[2,3]", "[0,3]") + "}", 3, 1);
  for (auto const* const type : {"F6_E2M3", "F6_E3M2"}) to.legal(51, type, "{" + entry("a", type, "[4]", "[0,3]") + "}", 3, 1);
  for (auto const* const type : {"F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E4M3", "F8_E5M2", "BOOL", "I8"})
    to.legal(51, type, "{" + entry("a", type, "[4]", "[0,4]") + "}", 4, 1);
  for (auto const* const type : {"U16", "I16", "F16", "BF16"})
    to.legal(51, type, "{" + entry("a", type, "[2]", "[0,4]") + "}", 4, 1);
  for (auto const* const type : {"U32", "I32", "F32"}) to.legal(51, type, "{" + entry("a", type, "[1]", "[0,4]") + "}", 4, 1);
  for (auto const* const type : {"C64", "U64", "I64", "F64"})
    to.legal(51, type, "{" + entry("a", type, "[1]", "[0,8]") + "}", 8, 1);
  to.legal(52, "F32 at an odd offset", "{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "F32", "[1]", "[1,5]") + "}", 5,
           2);
  to.legal(53, "keys in another order than data",
           "{" + entry("a", "U8", "[4]", "[4,8]") + "," + entry("b", "U8", "[4]", "[0,4]") + "}", 8, 2);
  to.legal(54, "an empty name", "{" + entry("", "U8", "[4]", "[0,4]") + "}", 4, 1);
  to.legal(54, "a name of 4096 bytes", "{" + entry(std::string(4096, 'n'), "U8", "[4]", "[0,4]") + "}", 4, 1);
  to.bad(54, "a name of 4097 bytes", errc::bad_name, "{^" + entry(std::string(4097, 'n'), "U8", "[4]", "[0,4]") + "}");
  to.add({.row = 54,
          .name = "a name of 50 MB",
          .bytes = [] { return file("{" + entry(std::string(50'000'000, 'n'), "U8", "[4]", "[0,4]") + "}", 4); },
          .expected = errc::bad_name,
          .byte = 9,
          .large = true});
  to.legal(55, "a name like a path", "{" + entry("../../etc/passwd", "U8", "[4]", "[0,4]") + "}", 4, 1);
  to.legal(55, "a name with a newline and a terminal's escape", "{" + entry("a\\n\\u001b[2J", "U8", "[4]", "[0,4]") + "}", 4, 1);
  to.bad(56, "9 levels", errc::json_depth, "{\"a\":[[[[[[[^[", 0);
  to.bad(56, "10,000 lists", errc::json_depth, "{\"a\":[[[[[[[^[" + std::string(10'000, '['), 0);
  to.add({.row = 56,
          .name = "a million lists",
          .bytes = [] { return file("{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}"); },
          .expected = errc::json_depth,
          .byte = 8 + 5 + 7,
          .large = true});
  to.add({.row = 56,
          .name = "200,000 objects in the metadata",
          .bytes = [] { return file("{\"__metadata__\":" + repeated("{\"a\":", 200'000) + "1" + std::string(200'001, '}')); },
          .expected = errc::json_depth,
          .large = true});
  to.legal(56, "brackets in a name are no nesting", "{" + entry("[[[[[[[[[[{{{{{{{{{{", "U8", "[4]", "[0,4]") + "}", 4, 1);
}

}  // namespace

std::vector<header_case> header_cases() {
  corpus out;
  add_lengths(out);
  add_texts(out);
  add_entries(out);
  add_numbers(out);
  add_tilings(out);
  add_others(out);
  return out.take();
}

}  // namespace malformed

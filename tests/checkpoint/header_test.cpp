// SPDX-License-Identifier: Apache-2.0
// Files that a strict reader must take or refuse; the verdicts follow the format's text, not an implementation.
#include <doctest/doctest.h>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

std::string length(std::uint64_t size) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>((size >> (8 * i)) & 0xff);
  return out;
}
std::string file(std::string const& json, std::size_t data = 0) { return length(json.size()) + json + std::string(data, 'x'); }

cull::safetensors_header parse(std::string const& bytes) {
  return cull::parse_safetensors_header(std::as_bytes(std::span{bytes}), bytes.size(), "f");
}

void refused(std::string const& bytes, cull::errc code, std::string const& says) {
  auto const shown = bytes.size() > 8 ? bytes.substr(8, 120) : bytes;
  CAPTURE(shown);
  auto const problem = failure_of([&] { parse(bytes); });
  CHECK(problem.code() == code);
  CHECK_MESSAGE(mentions(problem.what(), says), std::string{problem.what()});
  CHECK(problem.where().file == "f");
  CHECK(problem.where().byte.has_value());
}

/// "[0,n]".
std::string up_to(std::size_t n) {
  std::string out{"[0,"};
  out += std::to_string(n);
  return out += "]";
}

std::string entry(std::string const& name, std::string const& dtype, std::string const& shape, std::string const& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("header: files of every legal kind are read") {
  CHECK(parse(file("{}")).tensors.empty());
  CHECK(parse(file("{}      ")).tensors.empty());
  CHECK(parse(file("{}\n\t ")).tensors.empty());
  CHECK(parse(file(R"({"__metadata__":null})")).metadata.empty());
  CHECK(parse(file(R"({"__metadata__":{}})")).metadata.empty());
  CHECK(parse(file(R"({"__metadata__":{"a":"b","\u0061b":""}})")).metadata ==
        std::map<std::string, std::string>{{"a", "b"}, {"ab", ""}});
  auto const scalar = parse(file("{" + entry("s", "F32", "[]", "[0,4]") + "}", 4));
  CHECK(scalar.tensors.at(0).shape.empty());
  CHECK(scalar.tensors.at(0).elements() == 1);
  CHECK(scalar.tensors.at(0).begin == scalar.data_begin);
  CHECK(parse(file("{" + entry("", "U8", "[3]", "[0,3]") + "}", 3)).tensors.at(0).name.empty());
  CHECK(parse(file("{" + entry("z", "U8", "[0,5]", "[0,0]") + "}")).tensors.at(0).bytes() == 0);
  CHECK(parse(file("{" + entry("z", "U8", "[9223372036854775807,0,9223372036854775807]", "[0,0]") + "}")).tensors.size() == 1);
  CHECK(parse(file("{" + entry("f", "F4", "[2,3]", "[0,3]") + "}", 3)).tensors.at(0).type == cull::dtype::f4);
  CHECK(parse(file("{" + entry("f", "F6_E3M2", "[4]", "[0,3]") + "}", 3)).tensors.size() == 1);
  auto const order =
      parse(file("{" + entry("late", "U8", "[2]", "[4,6]") + "," + entry("first", "F32", "[1]", "[0,4]") + "}", 6));
  CHECK(order.tensors.at(0).name == "first");
  CHECK(parse(file("{" + entry("odd", "U8", "[1]", "[0,1]") + "," + entry("wide", "F32", "[1]", "[1,5]") + "}", 5))
            .tensors.size() == 2);
  CHECK(parse(file(R"({"a":{"dty\u0070e":"U8","shape":[1],"data_offsets":[0,1]}})", 1)).tensors.size() == 1);
}

TEST_CASE("header: every type has the size that its name says") {
  std::map<std::string, int> const bits{{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                                        {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                                        {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                                        {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                                        {"I64", 64},        {"U64", 64}};
  for (auto const& [name, size] : bits) {
    auto const bytes = static_cast<std::size_t>(size);  // of eight elements
    auto const text = "{" + entry("t", name, "[8]", up_to(bytes)) + "}";
    CHECK(cull::name(parse(file(text, bytes)).tensors.at(0).type) == name);
    auto const more = "{" + entry("t", name, "[8]", up_to(bytes + 1)) + "}";
    refused(file(more, bytes + 1), cull::errc::bad_header, "bytes");
  }
  CHECK_FALSE(cull::dtype_by_name("f32").has_value());
}

TEST_CASE("header: what is no safetensors file is named") {
  refused("", cull::errc::not_safetensors, "0 bytes");
  refused("1234567", cull::errc::not_safetensors, "7 bytes");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:1", cull::errc::not_safetensors, "git lfs pull");
  refused("<!DOCTYPE html><html>", cull::errc::not_safetensors, "web page");
  refused("\x1f\x8b_______________", cull::errc::not_safetensors, "gzip");
  refused("PK\x03\x04____________", cull::errc::not_safetensors, "zip");
}

TEST_CASE("header: lengths that cannot be") {
  refused(length(0), cull::errc::bad_header, "empty");
  refused(length(~std::uint64_t{0}) + "{}", cull::errc::bad_header, "at most");
  refused(length(100'000'001) + "{}", cull::errc::bad_header, "at most");
  refused(length(3) + "{}", cull::errc::bad_header, "claims 3");
  refused(length(1) + "{}", cull::errc::bad_json, "JSON");
}

TEST_CASE("header: JSON that only lenient readers take") {
  for (auto const text : {"[]", "null", "\"a\"", "1", " {}", "\xef\xbb\xbf{}"})
    refused(file(text), cull::errc::bad_header, "begins with");
  for (auto const& text :
       {std::string{"{}x"}, std::string{"{}{}"}, std::string{"{,}"}, std::string{"{\"a\"}"}, std::string{"{'a':1}"},
        std::string{"{/**/}"}, std::string{"{"}, std::string{"{\"\\ud800\":1}"}, std::string{"{\"\xc0\x80\":1}"},
        std::string{"{\"\xed\xa0\x80\":1}"}, std::string{"{\"a\nb\":1}"}, std::string{"{}\0\0", 4}}) {
    refused(file(text), cull::errc::bad_json, "");
  }
}

TEST_CASE("header: entries that break the grammar") {
  auto const bad = [](std::string const& inner, std::string const& says, std::size_t data = 4) {
    refused(file("{" + inner + "}", data), cull::errc::bad_header, says);
  };
  bad("\"a\":1", "number");
  bad("\"a\":null", "null");
  bad("\"a\":true", "true or false");
  bad("\"a\":[\"F32\",[1],[0,4]]", "array");
  bad("\"a\":{}", "dtype");
  bad(R"("a":{"dtype":"F32","shape":[1]})", "data_offsets");
  bad(R"("a":{"dtype":"F32","data_offsets":[0,4]})", "shape");
  bad(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]})", "array");
  bad(R"("a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})", "twice");
  bad(R"("a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]})", "twice");
  bad(R"("a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]})", "not known");
  bad(R"("a":{"dtype":32,"shape":[1],"data_offsets":[0,4]})", "number");
  bad(R"("a":{"dtype":"F32","shape":1,"data_offsets":[0,4]})", "number");
  bad(R"("a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]})", "array");
  bad(R"("a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]})", "string");
  for (auto const number : {"-1", "1.0", "1e0", "18446744073709551617", "9223372036854775808"}) {
    bad(entry("a", "U8", std::string{"["} + number + "]", "[0,4]"), "");
  }
  bad(entry("a", "U8", "[4]", "[0]"), "two numbers");
  bad(entry("a", "U8", "[4]", "[0,4,4]"), "two numbers");
  bad(entry("a", "U8", "[4]", "[4,0]"), "backwards");
  bad(entry("a", "U8", "[4294967296,4294967296]", "[0,0]"), "more elements", 0);
  bad(entry("a", "I64", "[2305843009213693952]", "[0,0]"), "more elements", 0);
  bad(entry("a", "F4", "[3]", "[0,2]"), "whole bytes", 2);
  bad(entry("a", "U8", "[4]", "[0,4]") + "," + entry("a", "U8", "[4]", "[0,4]"), "twice");
  bad(entry("a", "U8", "[4]", "[0,4]") + "," + entry("\\u0061", "U8", "[4]", "[0,4]"), "twice");
  bad(entry("a\\u0000", "U8", "[4]", "[0,4]"), "NUL");
  bad(entry(std::string(4097, 'a'), "U8", "[4]", "[0,4]"), "4096");
  bad("\"__metadata__\":{},\"__metadata__\":{}", "twice", 0);
  bad("\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}", "twice", 0);
  bad("\"__metadata__\":{\"a\":1}", "number", 0);
  bad("\"__metadata__\":{\"a\":{}}", "object", 0);
  bad("\"__metadata__\":[]", "array", 0);
  bad(entry("__metadata__", "U8", "[4]", "[0,4]"), "array");
  std::string dims = "1";
  for (int i = 1; i < 64; ++i) dims += ",1";
  CHECK(parse(file("{" + entry("a", "U8", "[" + dims + "]", "[0,1]") + "}", 1)).tensors.at(0).shape.size() == 64);
  bad(entry("a", "U8", "[" + dims + ",1]", "[0,1]"), "64", 1);
}

TEST_CASE("header: depth ends the reading, not the stack") {
  refused(file("{\"a\":" + std::string(1'000'000, '[')), cull::errc::bad_header, "array");
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  refused(file("{\"__metadata__\":" + objects), cull::errc::bad_header, "object");
}

TEST_CASE("header: tensors must tile the data") {
  auto const pair = [](std::string const& a, std::string const& b, std::size_t data) {
    return file("{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}", data);
  };
  CHECK(parse(pair("[4,8]", "[0,4]", 8)).tensors.size() == 2);
  refused(pair("[0,4]", "[5,9]", 9), cull::errc::bad_header, "belong to none");
  refused(pair("[0,4]", "[2,6]", 6), cull::errc::bad_header, "overlaps tensor 'a'");
  refused(pair("[0,4]", "[0,4]", 4), cull::errc::bad_header, "overlaps");
  refused(pair("[1,5]", "[5,9]", 9), cull::errc::bad_header, "belong to none");
  refused(pair("[0,4]", "[4,8]", 6), cull::errc::bad_header, "2 bytes short");
  refused(pair("[0,4]", "[4,8]", 11), cull::errc::bad_header, "3 bytes after");
  refused(file("{}", 1), cull::errc::bad_header, "1 bytes after");
  auto const empty_at = [](std::string const& at) {
    return file("{" + entry("a", "U8", "[4]", "[0,4]") + "," + entry("z", "U8", "[0]", "[" + at + "," + at + "]") + "}", 4);
  };
  CHECK(parse(empty_at("0")).tensors.size() == 2);
  CHECK(parse(empty_at("4")).tensors.size() == 2);
  refused(empty_at("2"), cull::errc::bad_header, "overlaps");
}

TEST_CASE("header: an error names the tensor, and escapes what a terminal would obey") {
  auto const problem = failure_of([] { parse(file("{" + entry("evil\\u001b[2J", "U8", "[5]", "[0,4]") + "}", 4)); });
  CHECK(problem.where().tensor == "evil\x1b[2J");
  CHECK(mentions(problem.what(), "evil\\x1b[2J"));
}

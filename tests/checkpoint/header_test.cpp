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
  CHECK(cull::name(problem.code()) == cull::name(code));
  CHECK_MESSAGE(mentions(problem.what(), says), std::string{problem.what()});
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
    refused(file(more, bytes + 1), cull::errc::size_mismatch, "bytes");
  }
  CHECK_FALSE(cull::dtype_by_name("f32").has_value());
}

TEST_CASE("header: messages say what to do and how much is amiss") {
  refused("", cull::errc::too_short, "0 bytes");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:1", cull::errc::not_safetensors, "git lfs pull");
  refused("<!DOCTYPE html><html>", cull::errc::not_safetensors, "web page");
  refused("\x1f\x8b_______________", cull::errc::not_safetensors, "gzip");
  refused("PK\x03\x04____________", cull::errc::not_safetensors, "zip");
  refused(length(3) + "{}", cull::errc::header_past_end, "claims 3 bytes, the file has 2");
  auto const pair = [](std::string const& a, std::string const& b, std::size_t data) {
    return file("{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}", data);
  };
  refused(pair("[0,4]", "[5,9]", 9), cull::errc::hole, "1 bytes before");
  refused(pair("[0,4]", "[2,6]", 6), cull::errc::overlap, "overlaps tensor 'a'");
  refused(pair("[0,4]", "[4,8]", 6), cull::errc::truncated, "ends 2 bytes before");
  refused(pair("[0,4]", "[4,8]", 11), cull::errc::trailing_data, "3 bytes after");
}

TEST_CASE("header: what is let pass is told") {
  auto const bytes = file("{" + entry("a", "U8", "[4]", "[0,4]") + "}", 11);
  CHECK(cull::parse_safetensors_header(std::as_bytes(std::span{bytes}), bytes.size(), "f", {.trailing_data = true})
            .trailing_bytes == 7);
  cull::leniency all;
  for (auto const name : {"nul-in-names", "leading-space", "unknown-fields", "trailing-data", "adopt-unindexed",
                          "duplicate-tensors", "outside-links"})
    CHECK(cull::allow(all, name));
  CHECK(all.outside_links);
  CHECK(all.nul_in_names);
  CHECK_FALSE(cull::allow(all, "everything"));
}

TEST_CASE("header: an error names the tensor, and escapes what a terminal would obey") {
  auto const problem = failure_of([] { parse(file("{" + entry("evil\\u001b[2J", "U8", "[5]", "[0,4]") + "}", 4)); });
  CHECK(problem.where().tensor == "evil\x1b[2J");
  CHECK(mentions(problem.what(), "evil\\x1b[2J"));
  // Found by fuzzing: what is wrong behind a tensor is not that tensor's fault.
  auto const behind = failure_of([] { parse(file("{" + entry("a", "U8", "[4]", "[0,4]") + ",\"\x06\":{}}", 4)); });
  CHECK(behind.code() == cull::errc::json_syntax);
  CHECK(behind.where().tensor.empty());
  std::string const open = R"({"__metadata__":{},")";
  auto const unclosed = failure_of([&] { parse(file(open)); });
  CHECK(unclosed.code() == cull::errc::json_syntax);
  CHECK(unclosed.where().byte == 8 + open.size() - 1);
}

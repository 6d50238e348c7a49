// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cull/error.hpp>
#include <string>

TEST_CASE("an error names the file, the tensor and the byte, and says what to do") {
  cull::error const e{cull::errc::hole, "hole of 4 bytes; download the file again",
                      {.file = "m.safetensors", .tensor = "a.weight", .byte = 72}};
  CHECK(std::string{e.what()} == "m.safetensors: tensor 'a.weight': byte 72: hole of 4 bytes; download the file again");
  CHECK(e.code() == cull::errc::hole);
  CHECK(e.where().byte == 72u);
}

TEST_CASE("names from a file cannot send control characters to a terminal") {
  cull::error const e{cull::errc::hole, "bad name", {.file = {}, .tensor = "a\x1b[31m\n"}};
  CHECK(std::string{e.what()} == "tensor 'a\\x1b[31m\\x0a': bad name");
}

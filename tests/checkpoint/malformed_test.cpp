// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <span>
#include <string>

#include <cull/checkpoint/header.hpp>

#include <support/sanitized.hpp>

#include "failures.hpp"
#include "malformed.hpp"

namespace {

using namespace checkpoint_test;

cull::safetensors_header parse_case(std::string const& bytes, cull::leniency const& allowed = {}) {
  return cull::parse_safetensors_header(std::as_bytes(std::span{bytes}), bytes.size(), "f", allowed);
}

void check_case(malformed::header_case const& each, std::string const& bytes) {
  std::size_t tensors = 0;
  auto const problem = failure_of([&] { tensors = parse_case(bytes, each.allowed).tensors.size(); });
  std::string const said = problem.what();
  CAPTURE(said);
  CHECK(cull::name(problem.code()) == cull::name(each.expected.value_or(cull::errc::cancelled)));
  if (!each.expected) {
    CHECK(tensors == each.tensors.value_or(0));
    return;
  }
  auto const& where = problem.where();
  CHECK(where.file == "f");
  REQUIRE(where.byte.has_value());
  CHECK(*where.byte == each.byte.value_or(*where.byte));
  CHECK(where.json_pointer == each.pointer.value_or(where.json_pointer));
  CHECK(where.tensor == each.tensor.value_or(where.tensor));
  CHECK(said.size() < 2000);
  CHECK(std::none_of(said.begin(), said.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
}

}  // namespace

TEST_CASE("malformed: every header has the answer that stands beside it") {
  auto const cases = malformed::header_cases();
  std::map<bool, double> slowest;
  std::set<std::string> names;
  for (auto const& each : cases) {
    auto const label = "row " + std::to_string(each.row) + ": " + each.name;
    CAPTURE(label);
    CHECK_MESSAGE(names.insert(label).second, "each case has a name of its own");
    if (test_support::sanitized && each.large) continue;  // what they reach, small files reach too
    auto const bytes = each.bytes();
    auto const begin = std::clock();  // time of the processor, whatever else the machine does
    check_case(each, bytes);
    auto const took = 1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    slowest[each.large] = std::max(slowest[each.large], took);
    if (each.large) MESSAGE(label << ": " << took << " ms");
  }
  MESSAGE(cases.size() << " headers, the slowest small one in " << slowest[false] << " ms, the slowest large one in "
                       << slowest[true] << " ms");
}

TEST_CASE("malformed: any prefix of a good file, and any byte changed, is read or refused, never more") {
  auto const bytes = malformed::file("{\"__metadata__\":{\"format\":\"pt\"}," + malformed::entry("a", "F32", "[2]", "[0,8]") +
                                         "," + malformed::entry("b", "U8", "[3]", "[8,11]") + "}",
                                     11);
  REQUIRE(parse_case(bytes).tensors.size() == 2);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    auto const code = code_of([&] { parse_case(bytes.substr(0, size)); });
    CHECK(code == (size < 8                   ? cull::errc::too_short
                   : size < bytes.size() - 11 ? cull::errc::header_past_end
                                              : cull::errc::truncated));
  }
  std::set<cull::errc> seen;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      auto changed = bytes;
      changed[at] = static_cast<char>(value);
      seen.insert(code_of([&] { parse_case(changed); }));
    }
  }
  CHECK(seen.size() >= 15);
}

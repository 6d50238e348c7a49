// SPDX-License-Identifier: Apache-2.0
// The short way through plainly spelled indexes: what it takes, another parser takes too and sees the same; what ordinary writers
// write, it takes. And the writing and sorting that go with long lists of tensors.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/order.hpp>
#include <cull/checkpoint/plain_index.hpp>

namespace {

using ordered = nlohmann::ordered_json;

/// Every member of the text, by a parser that tells of each (so that none is lost where a name is given twice).
std::size_t members(std::string const& text) {
  std::size_t count = 0;
  auto const tree = ordered::parse(text, [&](int depth, ordered::parse_event_t event, ordered const&) {
    count += depth == 1 && event == ordered::parse_event_t::key ? 1u : 0u;
    return true;
  });
  CHECK(tree.size() == count);
  return count;
}

/// One byte gone, doubled or replaced by one that means something.
std::string spoiled(std::string text, std::mt19937& random) {
  static std::string const signs = "{}[]\",:\\ -+.eE0123456789abntu\n\t\x01\x80";
  auto const at = random() % text.size();
  switch (random() % 3) {
    case 0:
      return text.erase(at, 1);
    case 1:
      return text.insert(at, 1, text[at]);
    default:
      text[at] = signs[random() % signs.size()];
      return text;
  }
}

}  // namespace

TEST_CASE("plain: indexes, whole and with a wrong byte") {
  std::mt19937 random{3};
  int taken = 0;
  for (int i = 0; i < 6000; ++i) {
    ordered index{{"metadata", {{"total_size", random() % 1000}, {"format", "pt"}}}, {"weight_map", ordered::object()}};
    for (auto n = random() % 5; n > 0; --n)
      index["weight_map"]["t." + std::to_string(random() % 1000)] = "m-" + std::to_string(random() % 3) + ".safetensors";
    auto const whole = index.dump(i % 3 - 1);
    auto const text = i % 2 == 0 ? whole : spoiled(whole, random);
    cull::shard_index read;
    bool const is_taken = cull::detail::plain_index{read}.parse(text);
    CHECK((i % 2 != 0 || is_taken));
    if (!is_taken) continue;
    ++taken;
    CAPTURE(text);
    auto const tree = ordered::parse(text);
    CHECK(members(text) == 2);
    CHECK(tree.at("metadata").at("total_size") == read.total_size.value());
    CHECK(tree.at("weight_map").size() == read.tensors.size());
    for (std::size_t t = 0; t < read.tensors.size(); ++t) {
      CHECK((t == 0 || read.tensors[t - 1].tensor < read.tensors[t].tensor));
      CHECK(tree.at("weight_map").at(read.tensors[t].tensor) == read.shards.at(read.tensors[t].shard));
    }
  }
  CHECK(taken > 3200);
}

TEST_CASE("plain: what has more than one meaning is left to the strict parser") {
  auto const taken = [](std::string const& metadata, std::string const& map) {
    cull::shard_index read;
    return cull::detail::plain_index{read}.parse("{\"metadata\":{" + metadata + "},\"weight_map\":{" + map + "}}");
  };
  std::string const total = R"("total_size":7)", entry = R"("a":"x.safetensors")";
  CHECK(taken(total, entry));
  CHECK(taken(total + R"(,"format":"pt")", entry));
  for (std::string const metadata : {"", R"("total_size":"7")", R"("total_size":07)", R"("total_size":7.0)", R"("total_size":-7)",
                                     R"("total_size":7,"total_size":7)", R"("total_size":7,"a":[1])",
                                     R"("total_size":1000000000000000000000)", R"("total_size":7,)"})
    CHECK_MESSAGE(!taken(metadata, entry), metadata);
  for (std::string const map :
       {R"("a":"x.safetensors","a":"x.safetensors")", R"("\u0061":"x.safetensors")", R"("a":"../x.safetensors")",
        R"("a":"x.bin")", R"("a":7)", R"("a":"x.safetensors",)", R"("a" "x.safetensors")"})
    CHECK_MESSAGE(!taken(total, map), map);
}

TEST_CASE("json: a text without a member") {
  auto const without = [](std::string const& text) { return cull::detail::without_member(text, "w"); };
  for (std::string const text : {R"({"w": {"a": "}"}})", R"({"w":1,"x":{"w":2}})", R"({"x":[{"w":2}],"w":"\"","y":true})",
                                 R"({ "x" : 1 , "w" : [ 1 , "]" ] })", R"({"x":1})", R"({})"}) {
    auto wanted = ordered::parse(text);
    wanted.erase("w");
    CHECK_MESSAGE(ordered::parse(without(text)) == wanted, text);
  }
  for (std::string const text : {"", "{", "{\"", "{\"w\"", "{\"w\":", "{\"w\":{", "[1]", "{\"w\":\"", "{\"x\":1,", "{\"w\":1,}"})
    CHECK_MESSAGE(without(text).size() <= text.size(), text);
}

TEST_CASE("json: numbers and texts as another writer writes them") {
  for (std::string const text : {"", "plain", "a\"b\\c", "tab\there", "\x01", "\u00e9", "\x7f"}) {
    for (auto const ascii : {cull::detail::json_ascii::no, cull::detail::json_ascii::yes}) {
      std::string written{"x"};
      cull::detail::append_json_string(written, text, ascii);
      CHECK(written == "x" + ordered(text).dump(-1, ' ', ascii == cull::detail::json_ascii::yes));
    }
  }
}

TEST_CASE("order: runs of any number and length come out as a stable sort gives them") {
  std::mt19937 random{4};
  for (int i = 0; i < 300; ++i) {
    std::vector<std::pair<int, int>> list(random() % 40);
    int value = 0;
    for (std::size_t n = 0; n < list.size(); ++n) {
      value = random() % (1 + static_cast<unsigned>(i) % 9) == 0 ? static_cast<int>(random() % 20) : value + 1;
      list[n] = {value, static_cast<int>(n)};
    }
    auto const before = [](auto const& a, auto const& b) { return a.first < b.first; };
    auto wanted = list;
    std::stable_sort(wanted.begin(), wanted.end(), before);
    cull::detail::sort_runs(list, before);
    CHECK(list == wanted);
  }
}

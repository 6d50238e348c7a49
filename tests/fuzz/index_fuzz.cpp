// SPDX-License-Identifier: Apache-2.0
// Whatever an index holds, it is read or refused; what is read is what another parser finds.
#include <cull/checkpoint/index.hpp>
#include <nlohmann/json.hpp>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  auto const text = fuzz::text_of(data, size);
  cull::shard_index index;
  if (!fuzz::answers([&] { index = cull::parse_index(text, "f"); })) return 0;
  auto const tree = nlohmann::json::parse(text, nullptr, false);
  fuzz::require(tree.is_object() && tree.contains("weight_map"), "what is accepted is JSON with a map");
  auto const& map = tree.at("weight_map");
  fuzz::require(map.size() == index.tensors.size(), "every member is an entry");
  for (auto const& [tensor, shard] : map.items()) {
    auto const* const found = index.find(tensor);
    fuzz::require(found != nullptr && shard == index.shards.at(found->shard), "each entry is found");
    auto const& file = index.shards[found->shard];
    fuzz::require(file.find('/') == std::string::npos && file.find('\0') == std::string::npos && file != "..",
                  "a shard is a plain name");
  }
  if (index.total_size) fuzz::require(tree.at("metadata").at("total_size") == *index.total_size, "total_size");
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  static std::vector<std::string_view> const words{
      "\"weight_map\"", "\"metadata\"", "\"total_size\"",           "\"x.safetensors\"",        "\"../x.safetensors\"", "\"a\"",
      "\"\\u0061\"",    "4.67e11",      "\"a\":\"x.safetensors\",", "\"x\\u0000.safetensors\"", "\"\\ud800\""};
  if (seed % 5 == 0) return LLVMFuzzerMutate(data, size, most);
  return fuzz::put(fuzz::token_mutator{std::string{fuzz::text_of(data, size)}, seed, words}.mutated(), data, most);
}

// SPDX-License-Identifier: Apache-2.0
// Whatever an observation file holds, it is read or refused; what is read is saved again as the same state. The checksum is made
// right before each reading, so that changes reach the checks behind it.
#include <cull/checkpoint/observation_file.hpp>
#include <cull/saliency/merge.hpp>
#include <filesystem>
#include <span>

#include "safetensors_mutator.hpp"

namespace {

std::string with_checksum(std::string file) {
  cull::safetensors_header header;
  try {
    header = cull::parse_safetensors_header(std::as_bytes(std::span{file}), file.size(), "f");
  } catch (cull::error const&) {
    return file;
  }
  auto const found = header.metadata.find("checksum");
  if (found == header.metadata.end() || found->second.size() != 32) return file;
  auto const at = file.find("\"" + found->second + "\"");
  if (at == std::string::npos || at > header.data_begin) return file;
  auto const bytes = std::as_bytes(std::span{file});
  auto const sum = cull::detail::observation_checksum(header.metadata, header.tensors, [&](std::size_t i) {
    return bytes.subspan(static_cast<std::size_t>(header.tensors[i].begin), static_cast<std::size_t>(header.tensors[i].bytes()));
  });
  return file.replace(at + 1, 32, sum);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  auto const file = with_checksum(std::string{fuzz::text_of(data, size)});
  cull::default_observation seen{cull::observation_layout{.layers = {0}, .experts = 1}};
  if (!fuzz::answers([&] { seen = cull::parse_observation(std::as_bytes(std::span{file}), "f"); })) return 0;
  cull::observation_layout layout{.layers = seen.layers(), .experts = std::vector<int>{}, .domains = seen.domains()};
  std::vector<int> experts;
  for (int const layer : seen.layers()) experts.push_back(seen.experts(layer));
  layout.experts = experts;
  cull::default_observation again{layout};
  again.provenance() = seen.provenance();
  auto const state = cull::export_state(seen);
  cull::import_state(again, [&](std::string const& name) -> cull::state_tensor const* {
    for (auto const& t : state) {
      if (t.name == name) return &t;
    }
    return nullptr;
  });
  fuzz::require(again == seen, "a state that was read can be saved and read");
  fuzz::answers([&] { cull::merge(seen, again); });
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  return fuzz::mutate_safetensors(data, size, most, seed);
}

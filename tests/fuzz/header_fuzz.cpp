// SPDX-License-Identifier: Apache-2.0
// Whatever a file holds, its header is read or refused; what is read tiles the file, by an independent account.
#include <cull/checkpoint/header.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "safetensors_mutator.hpp"

namespace {

/// What an accepted header must be, told from the text alone by another parser.
void check_against_tree(cull::safetensors_header const& header, std::string_view file) {
  auto const text = file.substr(8, static_cast<std::size_t>(header.data_begin - 8));
  auto const tree = nlohmann::json::parse(text, nullptr, false);
  fuzz::require(tree.is_object(), "what is accepted is JSON");
  fuzz::require(tree.size() == header.tensors.size() + (tree.contains("__metadata__") ? 1u : 0u), "every member is a tensor");
  std::vector<char> owners(file.size(), 0);
  for (auto const& t : header.tensors) {
    auto const& entry = tree.at(t.name);
    fuzz::require(entry.size() == 3 && entry.at("dtype") == cull::name(t.type), "fields and type");
    fuzz::require(entry.at("shape").get<std::vector<std::uint64_t>>() == t.shape, "shape");
    fuzz::require(entry.at("data_offsets").at(0).get<std::uint64_t>() + header.data_begin == t.begin, "begin");
    fuzz::require(entry.at("data_offsets").at(1).get<std::uint64_t>() + header.data_begin == t.end, "end");
    fuzz::require(t.begin <= t.end && t.end <= file.size(), "inside the file");
    long double bits = cull::bits(t.type);
    for (auto const n : t.shape) bits *= static_cast<long double>(n);
    fuzz::require(bits == 8.0L * static_cast<long double>(t.bytes()), "bytes are those of the shape");
    for (auto at = t.begin; at < t.end; ++at) fuzz::require(owners[static_cast<std::size_t>(at)]++ == 0, "one owner a byte");
  }
  auto const owned = static_cast<std::uint64_t>(std::count(owners.begin(), owners.end(), 1));
  fuzz::require(owned + header.data_begin + header.trailing_bytes == file.size(), "every byte has an owner");
}

/// What is said of a text: all of it, or the code and place of the error.
template <class Read>
std::string told(Read&& read) {
  std::string out;
  try {
    cull::detail::header_contents const contents = read();
    for (auto const& [key, value] : contents.metadata) out += key + '\0' + value + '\0';
    for (std::size_t i = 0; i < contents.tensors.size(); ++i) {
      auto const& t = contents.tensors[i];
      out += t.name + '\0' + std::string{cull::name(t.type)} + std::to_string(t.begin) + "-" + std::to_string(t.end);
      for (auto const n : t.shape) out += "," + std::to_string(n);
      out += "@" + std::to_string(contents.places[i]);
    }
  } catch (cull::error const& problem) {
    out = problem.what() + std::string{cull::name(problem.code())};
  }
  return out;
}

/// The scanner, which reads what is beyond doubt, changes no answer of the parser.
void check_scanner(std::string_view text, cull::leniency const& allowed) {
  std::string const file = "f";
  std::string_view root;
  if (!fuzz::answers([&] { root = cull::detail::header_root(text, file, allowed); })) return;
  auto const alone = [&] {
    cull::detail::header_contents out;
    cull::detail::header_parser{root, file, 8, allowed}.parse(out);
    return out;
  };
  fuzz::require(told([&] { return cull::detail::read_contents(root, 8, file, allowed); }) == told(alone),
                "with and without the scanner: one answer");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  auto const file = fuzz::text_of(data, size);
  auto const bytes = std::as_bytes(std::span{data, size});
  cull::safetensors_header strict, lenient;
  bool const good = fuzz::answers([&] { strict = cull::parse_safetensors_header(bytes, size, "f"); });
  if (good) {
    fuzz::require(strict.trailing_bytes == 0, "strict reading leaves nothing");
    check_against_tree(strict, file);
  }
  auto const read = [&](std::uint64_t from, std::span<std::byte> to) {
    fuzz::require(from + to.size() <= size, "reads inside the file");
    std::memcpy(to.data(), data + from, to.size());
  };
  bool const same = fuzz::answers([&] { lenient = cull::read_safetensors_header(read, size, "f"); });
  fuzz::require(same == good, "read in pieces or whole: one answer");
  cull::leniency const all{.nul_in_names = true, .leading_space = true, .unknown_fields = true, .trailing_data = true};
  bool const loose = fuzz::answers([&] { lenient = cull::parse_safetensors_header(bytes, size, "f", all); });
  if (size > 8) {
    check_scanner(file.substr(8), {});
    check_scanner(file.substr(8), all);
  }
  fuzz::require(loose || !good, "leniency refuses nothing that strictness takes");
  if (good)
    fuzz::require(lenient.tensors.size() == strict.tensors.size() && lenient.metadata == strict.metadata, "and reads the same");
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  return fuzz::mutate_safetensors(data, size, most, seed);
}

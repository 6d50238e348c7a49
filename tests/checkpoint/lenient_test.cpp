// SPDX-License-Identifier: Apache-2.0
// What a strict reader refuses and a named leniency allows goes all the way: opened, pruned, verified, opened again.
#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <string>

#include "scratch.hpp"
#include "small_model.hpp"

namespace {

using namespace checkpoint_test;

void replace_first(std::string& in, std::string const& from, std::string const& to) {
  auto const at = in.find(from);
  REQUIRE(at != std::string::npos);
  in.replace(at, from.size(), to);
}

/// Changes the JSON text of a file's header, and its length with it.
template <class Change>
void edit_header(fs::path const& path, Change&& change) {
  auto const whole = slurp(path);
  std::uint64_t size = 0;
  for (std::size_t i = 8; i-- > 0;) size = size << 8 | static_cast<unsigned char>(whole[i]);
  auto header = whole.substr(8, size);
  change(header);
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xff);
  spill(path, out + header + whole.substr(8 + size));
}

void edit_text(fs::path const& path, std::string const& from, std::string const& to) {
  auto text = slurp(path);
  replace_first(text, from, to);
  spill(path, text);
}

struct lenient_case {
  std::string_view leniency;
  cull::errc refusal;
  std::function<void(fs::path const&)> change;
};

std::vector<lenient_case> lenient_cases() {
  static std::string const first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors",
                           index = "model.safetensors.index.json", embedding = "model.embed_tokens.weight";
  return {
      {"nul-in-names", cull::errc::bad_name,
       [](fs::path const& dir) {
         edit_header(dir / first, [](auto& text) {
           replace_first(text, embedding, "model.embed\\u0000tokens.weight");
           replace_first(text, "\"format\"", "\"for\\u0000mat\":\"x\",\"format\"");
         });
         edit_text(dir / index, embedding, "model.embed\\u0000tokens.weight");
       }},
      {"leading-space", cull::errc::header_not_object,
       [](fs::path const& dir) { edit_header(dir / first, [](auto& text) { text = " \n" + text; }); }},
      {"unknown-fields", cull::errc::unknown_field,
       [](fs::path const& dir) {
         edit_header(dir / first, [](auto& text) { replace_first(text, "\"dtype\"", "\"strides\":[2,1],\"dtype\""); });
       }},
      {"trailing-data", cull::errc::trailing_data, [](fs::path const& dir) { spill(dir / second, slurp(dir / second) + "xyz"); }},
      {"adopt-unindexed", cull::errc::unindexed_tensor,
       [](fs::path const& dir) { edit_text(dir / index, "\"" + embedding + "\": \"" + first + "\", ", ""); }},
      {"duplicate-tensors", cull::errc::duplicate_tensor,
       [](fs::path const& dir) {
         auto tensors = test_support::read_safetensors((dir / second).string());
         tensors[embedding] = test_support::read_safetensors((dir / first).string()).at(embedding);
         std::vector<cull::tensor_source> sources;
         for (auto const& [name, t] : tensors)
           sources.push_back(
               {name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
         cull::write_safetensors(dir / second, {{"format", "pt"}}, sources, cull::overwrite::yes);
       }},
      {"outside-links", cull::errc::outside_tree,
       [](fs::path const& dir) {
         spill(dir.parent_path() / "linked", slurp(dir / first));
         fs::remove(dir / first);
         fs::create_symlink("../linked", dir / first);
       }},
  };
}

}  // namespace

TEST_CASE("lenient: what each switch allows is pruned and proved") {
  auto const cases = lenient_cases();
  REQUIRE(cases.size() == cull::leniency_names.size());
  cull::pruning_plan plan;
  plan.layers[0] = {0, 2, 3};
  for (auto const& each : cases) {
    CAPTURE(each.leniency);
    scratch_folder const folder;
    auto const dir = folder / "m", out = folder / "out";
    write_small_model(dir);
    each.change(dir);
    CHECK(cull::name(code_of([&] { cull::checkpoint::open(dir); })) == cull::name(each.refusal));
    cull::open_options lenient;
    REQUIRE(cull::allow(lenient.allowed, each.leniency));
    auto const model = cull::checkpoint::open(dir, lenient);
    cull::apply(model, plan, out);
    CHECK(cull::find_differences(model, plan, out).failures == std::vector<std::string>{});
    auto const written = cull::open_written(model, out);
    // An embedding, a router, three experts of six tensors.
    CHECK(written.tensors().size() == 2 + 3 * 6);
    CHECK_FALSE(cull::serving_checks(written).empty());
    // All but names was put right.
    CHECK((code_of([&] { cull::checkpoint::open(out); }) == cull::errc::bad_name) == (each.leniency == "nul-in-names"));
  }
}

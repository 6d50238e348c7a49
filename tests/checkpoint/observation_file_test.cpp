// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

void add_token(cull::default_observation& seen, int layer, int expert, double norm, int sequence, int domain) {
  std::int32_t const id = expert;
  float const gate = 0.5f;
  cull::add(cull::on_cpu{}, seen.at(layer), cull::routing<>{{&id, 1, 1}, {&gate, 1, 1}},
            {.norms = cull::matrix_view<double const>{&norm, 1, 1}, .sequence = {&sequence, 1}, .domain = {&domain, 1}});
}

cull::default_observation filled(std::vector<std::string> domains) {
  bool const told = !domains.empty();
  cull::default_observation seen{
      cull::observation_layout{.layers = {3, 7}, .experts = std::vector<int>{4, 6}, .domains = std::move(domains)}};
  for (int n = 0; n < 40; ++n) add_token(seen, n % 2 == 0 ? 3 : 7, n % 4, 1.0 / (n + 1), n / 8, told ? n % 2 : 0);
  seen.finish();
  seen.provenance() = {"0123abcd", "precision=f32", {{1, 2}, {1, 3}, {std::numeric_limits<std::uint64_t>::max(), 0}}};
  return seen;
}

}  // namespace

TEST_CASE("observation files: read back equal, the same bytes again, open to other readers") {
  scratch_folder const folder;
  for (auto const& domains : {std::vector<std::string>{}, std::vector<std::string>{"code", "text \"q\""}}) {
    auto const seen = filled(domains);
    auto const path = folder / "o.safetensors";
    cull::save(seen, path, cull::overwrite::yes);
    auto const back = cull::load_observation(path);
    CHECK(back == seen);
    auto const first = slurp(path);
    cull::save(back, path, cull::overwrite::yes);
    CHECK(slurp(path) == first);

    auto const tensors = test_support::read_safetensors(path.string());
    auto const count = tensors.at("count");
    CHECK(count.dtype == "I64");
    CHECK(count.shape == (domains.empty() ? std::vector<std::int64_t>{2, 6} : std::vector<std::int64_t>{2, 2, 6}));
    std::int64_t total = 0;
    for (auto const n : count.as<std::int64_t>()) total += n;
    CHECK(total == 40);
    auto const limbs = tensors.at("sum_w").as<std::int64_t>();
    long double weights = 0;
    for (std::size_t i = 0; i < limbs.size(); ++i)
      weights += std::ldexp(static_cast<long double>(limbs[i]), static_cast<int>(32 * (i % 5)) - 80);
    CHECK(weights == 40);
    CHECK(tensors.at("max_norm").dtype == "F64");
    auto const metadata = test_support::read_metadata(path.string());
    CHECK(metadata.at("format") == "cull-observation");
    CHECK(metadata.at("layers") == "[3,7]");
    CHECK(nlohmann::json::parse(metadata.at("sequences")).at(2) == "ffffffffffffffff0000000000000000");
  }
}

TEST_CASE("observation files: an open sequence is closed, an unsound state is not saved") {
  scratch_folder const folder;
  cull::default_observation open{cull::observation_layout{.layers = {3}, .experts = 4}};
  add_token(open, 3, 1, 2.0, 0, 0);
  cull::save(open, folder / "open.safetensors");
  CHECK(cull::load_observation(folder / "open.safetensors") == cull::finished(open));
  add_token(open, 3, 1, std::nan(""), 0, 0);
  CHECK(code_of([&] { cull::save(open, folder / "bad.safetensors"); }) == cull::errc::rejected_values);
  CHECK_FALSE(fs::exists(folder / "bad.safetensors"));
  CHECK(code_of([&] { cull::save(filled({}), folder / "open.safetensors"); }) == cull::errc::already_exists);
}

TEST_CASE("observation files: what is none, or was changed into nonsense, is refused with the file's name") {
  scratch_folder const folder;
  auto const path = folder / "o.safetensors";
  cull::save(filled({}), path);
  auto const tensors = test_support::read_safetensors(path.string());
  auto const metadata = test_support::read_metadata(path.string());
  auto const with = [&](auto change) {
    auto t = tensors;
    auto m = metadata;
    change(t, m);
    std::vector<cull::tensor_source> sources;
    for (auto const& [name, tensor] : t)
      sources.push_back({name,
                         *cull::dtype_by_name(tensor.dtype),
                         {tensor.shape.begin(), tensor.shape.end()},
                         std::as_bytes(std::span{tensor.bytes})});
    // So that the content is judged, and not only its checksum.
    if (m.contains("checksum"))
      m["checksum"] = cull::detail::observation_checksum(m, sources, [&](std::size_t i) { return sources[i].bytes; });
    cull::write_safetensors(folder / "changed.safetensors", m, sources, cull::overwrite::yes);
    auto const problem = failure_of([&] { cull::load_observation(folder / "changed.safetensors"); });
    CHECK_MESSAGE(mentions(problem.what(), "changed.safetensors"), std::string{problem.what()});
    return problem.code();
  };
  CHECK(with([](auto&, auto& m) { m.clear(); }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["format"] = "other"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["version"] = "1"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "[3,\"7\"]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "["; }) == cull::errc::json_syntax);
  CHECK(with([](auto&, auto& m) { m["sequences"] = "[\"12\"]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) {
          m["sequences"] = "[\"00000000000000010000000000000002\",\"00000000000000010000000000000002\"]";
        }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t.erase("sum_gf.squares"); }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t["count"].shape = {12}; }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t["count"].dtype = "F64"; }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t["count"].bytes[7] = 0x80; }) == cull::errc::bad_observation);
  // Counts and sums so large that merging such files would overflow.
  CHECK(with([](auto& t, auto&) { t["count"].bytes[7] = 0x7f; }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t["sequences"].bytes[6] = 0x20; }) == cull::errc::bad_observation);
  CHECK(with([](auto& t, auto&) { t["sum_w"].bytes[39] = 0x3f; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m.erase("checksum"); }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "[]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "[7,3]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "[-1,7]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["layers"] = "[3,99999999999]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["experts"] = "[4]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["experts"] = "[0,6]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["experts"] = "[2000000000,2000000000]"; }) == cull::errc::bad_observation);
  CHECK(with([](auto&, auto& m) { m["domains"] = "[\"b\",\"a\"]"; }) == cull::errc::bad_observation);
  CHECK(code_of([] { cull::load_observation(model_dir() / "model-00001-of-00003.safetensors"); }) == cull::errc::bad_observation);
  CHECK(code_of([&] { cull::load_observation(folder / "none"); }) == cull::errc::not_found);
}

TEST_CASE("observation files: every changed byte is noticed") {
  scratch_folder const folder;
  cull::save(filled({}), folder / "o.safetensors");
  auto const bytes = slurp(folder / "o.safetensors");
  std::size_t accepted = 0, by_checksum = 0;
  for (std::size_t at = 0; at < bytes.size(); at += at < 600 ? 1 : 7) {
    auto changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    auto const code = code_of([&] { cull::parse_observation(std::as_bytes(std::span{changed}), "f"); });
    accepted += code == cull::errc::cancelled;
    by_checksum += code == cull::errc::bad_checksum;
  }
  CHECK(accepted == 0);
  CHECK(by_checksum > 100);
}

TEST_CASE("observation files: the digest of the data is of sequences and settings, however they came together") {
  auto const digest_of = [](std::vector<std::array<std::uint64_t, 2>> sequences, std::string const& settings,
                            std::string const& model = "m") {
    return cull::data_digest({model, settings, std::move(sequences)});
  };
  auto const whole = digest_of({{1, 2}, {1, 3}, {4, 0}}, "precision=f32");
  CHECK(whole.size() == 32);
  CHECK(whole.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(digest_of({{1, 2}, {1, 3}, {4, 0}}, "precision=f32", "another") == whole);
  std::set<std::string> all{whole};
  for (auto const& other :
       {digest_of({{1, 2}, {1, 3}}, "precision=f32"), digest_of({{1, 2}, {1, 3}, {4, 1}}, "precision=f32"),
        digest_of({{1, 2}, {1, 3}, {4, 0}}, "precision=bf16"), digest_of({}, "precision=f32"), digest_of({}, "")}) {
    CHECK(all.insert(other).second);
  }

  auto const observed = [](std::vector<std::array<std::uint64_t, 2>> sequences) {
    auto seen = filled({});
    seen.provenance().sequences = std::move(sequences);
    return seen;
  };
  auto const one = observed({{1, 2}, {4, 0}}), two = observed({{1, 3}}), both = observed({{1, 2}, {1, 3}, {4, 0}});
  CHECK(cull::data_digest(cull::merge(one, two).provenance()) == cull::data_digest(both.provenance()));
  CHECK(cull::data_digest(cull::merge(two, one).provenance()) == cull::data_digest(both.provenance()));
}

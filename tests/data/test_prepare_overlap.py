"""Test images that a pretraining has seen: found by pixels, recorded, told of results."""

import json
import shutil

import pytest
from PIL import Image
from prepare_sets import write_file, write_pixels

from semaim_mm.data.prepare import (
    find_overlaps,
    judge,
    manifest_of,
    overlaps_at_hand,
    pixels,
    prepare,
    read_overlaps,
)
from semaim_mm.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def web(tmp_path):
    """Six images for pretraining, without labels."""
    for number in range(6):
        write_pixels(tmp_path / "web pages" / "train" / f"w{number}.png", number)
    return tmp_path / "web pages"


@pytest.fixture
def mine(tmp_path):
    """Two classes of two test images, none of which is in ``web``, and training images that are."""
    for number in range(4):
        name = "cat" if number < 2 else "dög"
        write_pixels(tmp_path / "mine" / "val" / name / f"{number}.png", 100 + number)
        write_pixels(tmp_path / "mine" / "train" / name / f"{number}.png", number)
    return tmp_path / "mine"


def prepared(*roots):
    for root in roots:
        prepare("imagefolder", root, say=lambda line: None)


def compared(source, *targets):
    return find_overlaps(source, targets, say=lambda line: None)


class TestComparison:
    def test_shared_images_are_found_by_pair_and_counted(self, web, mine, tmp_path):
        with Image.open(web / "train/w4.png") as image:
            image.save(mine / "val/cat/4.bmp")
        shutil.copy(web / "train/w5.png", mine / "val/dög/5.png")
        shutil.copy(web / "train/w5.png", web / "train/w5 again.png")
        prepared(web, mine)
        (record,) = compared(web, mine)
        assert record["test_images_shared"] == 2 and record["pairs"] == 3
        assert record["shared"] == {
            "val/cat/4.bmp": dict(count=1, pretraining=["train/w4.png"]),
            "val/dög/5.png": dict(count=2, pretraining=["train/w5 again.png", "train/w5.png"]),
        }
        assert record["pretraining"]["manifest_sha256"] == manifest_of(web)
        assert record["test"]["manifest_sha256"] == manifest_of(mine)
        assert (record["test"]["folder"], record["test"]["images"]) == ("val", 6)

    def test_of_a_test_set_the_test_part_counts_and_any_folder_can_be_named(self, web, mine):
        prepared(web, mine)
        assert compared(web, mine)[0]["pairs"] == 0  # its train shares four, its val none
        assert compared(web, mine / "train/cat")[0]["pairs"] == 2

    def test_several_test_sets_are_compared_in_one_pass(self, web, mine, tmp_path, monkeypatch):
        shutil.copytree(mine / "train", tmp_path / "other" / "val")
        prepared(web, mine, tmp_path / "other")
        passes = []
        sound = pixels._hash
        monkeypatch.setattr(pixels, "_hash", lambda *args: passes.append(args) or sound(*args))
        lines = []
        records = find_overlaps(web, [mine, tmp_path / "other"], say=lines.append)
        assert [record["pairs"] for record in records] == [0, 4] and len(lines) == 2
        assert "4 of 4 test images (other val)" in lines[1]
        assert "val/cat/0.png = train/w0.png" in lines[1]
        # what was decoded once is not decoded again, wherever a file of the same bytes lies
        assert len(passes) == 4 + 6
        compared(web, mine)
        assert len(passes) == 4 + 6

    def test_pretraining_on_the_train_part_of_the_test_set_itself(self, mine):
        shutil.copy(mine / "train/cat/0.png", mine / "val/cat/9.png")
        prepared(mine)
        (record,) = compared(mine, mine)
        assert record["shared"] == {"val/cat/9.png": dict(count=1, pretraining=["train/cat/0.png"])}

    def test_the_file_keeps_other_comparisons_and_has_the_same_bytes_each_time(self, web, mine):
        prepared(web, mine)
        compared(web, mine)
        first = (mine / "overlap.json").read_bytes()
        compared(web, mine)
        assert (mine / "overlap.json").read_bytes() == first
        compared(mine, mine)
        kept = json.loads((mine / "overlap.json").read_text())["comparisons"]
        assert len(kept) == 2
        prepared(mine)  # the file is no part of the set
        assert len(read_overlaps(mine)) == 2

    def test_images_that_cannot_be_decoded_are_counted_and_left_out(self, web, mine):
        write_file(web / "train/broken.png", b"no image")
        prepared(web, mine)
        lines = []
        (record,) = find_overlaps(web, [mine], say=lines.append)
        assert record["pretraining"]["unreadable"] == dict(count=1, examples=["train/broken.png"])
        assert "1 images can't be decoded" in lines[0]

    def test_a_file_that_changed_since_its_manifest_stops(self, web, mine):
        prepared(web, mine)
        write_pixels(web / "train/w3.png", 77)
        with pytest.raises(InputError, match="w3.png changed since"):
            compared(web, mine)
        (web / "train/w3.png").unlink()
        with pytest.raises(InputError, match="w3.png, which its data set's manifest lists"):
            compared(web, mine)
        assert not (mine / "overlap.json").exists()

    def test_an_interrupted_comparison_keeps_what_it_decoded(self, web, mine, monkeypatch):
        prepared(web, mine)
        monkeypatch.setattr(pixels, "CHUNK", 2)
        seen, sound = [], pixels._hash

        def stops(path, sha256):
            if path.name == "w3.png":
                raise KeyboardInterrupt
            return sound(path, sha256)

        monkeypatch.setattr(pixels, "_hash", stops)
        with pytest.raises(KeyboardInterrupt):
            compared(web, mine)
        monkeypatch.setattr(
            pixels, "_hash", lambda *args: seen.append(args[0].name) or sound(*args)
        )
        compared(web, mine)
        assert sorted(seen) == ["w2.png", "w3.png", "w4.png", "w5.png"]

    def test_wrong_places_are_sentences(self, web, mine, tmp_path):
        with pytest.raises(InputError, match="No manifest covers"):
            compared(web, mine)
        prepared(web, mine)
        with pytest.raises(InputError, match="both sides"):
            compared(web, web / "train")
        with pytest.raises(InputError, match="There is no folder"):
            compared(web, mine / "test")
        (mine / "val" / "empty").mkdir()
        with pytest.raises(InputError, match="holds no image that"):
            compared(web, mine / "val" / "empty")
        (mine / "overlap.json").write_text("{}")
        with pytest.raises(InputError, match="is no semaim-overlap file"):
            compared(web, mine)

    def test_the_shipped_sample_is_no_test_set_to_compare(self, web, tmp_path):
        sample = tmp_path / "sample"
        write_pixels(sample / "train/0.png", 0)
        prepared(web, sample)
        content = json.loads((sample / "manifest.json").read_text()) | dict(name="semaim-sample")
        (sample / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="shipped sample"):
            compared(web, sample)
        assert compared(sample, web)[0]["pretraining"]["name"] == "sample"


def weights(data, started_from=None, loaded=None):
    origin = dict(seed=0, loaded=loaded) | ({} if data is None else dict(data=data))
    return dict(origin=origin, started_from=started_from)


def result(test, checkpoint, training=None, **data):
    return dict(
        checkpoint=checkpoint,
        protocol=dict(training=training),
        data=dict(manifest_sha256=test, **data),
    )


class TestResults:
    @pytest.fixture
    def overlaps(self, web, mine, tmp_path):
        """``web`` against ``mine``, which share one image; ``clean`` against it, which don't."""
        write_pixels(tmp_path / "clean" / "train" / "a.png", 500)
        shutil.copy(web / "train/w5.png", mine / "val/cat/5.png")
        prepared(web, mine, tmp_path / "clean")
        compared(web, mine)
        compared(tmp_path / "clean", mine)
        self.mine, self.web = manifest_of(mine), dict(manifest_sha256=manifest_of(web))
        self.clean = dict(manifest_sha256=manifest_of(tmp_path / "clean"), folder="train")
        return read_overlaps(tmp_path)

    def test_files_are_found_two_folders_down_and_once(self, overlaps, mine):
        assert len(overlaps) == 2
        assert read_overlaps(mine / "overlap.json", mine, mine.parent) == overlaps
        with pytest.raises(InputError, match="to read overlaps from"):
            read_overlaps(mine / "nothing")

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda records: records.append({}),
            lambda records: records.append(None),
            lambda records: records[0].pop("pretraining"),
            lambda records: records[0].update(test="mine"),
            lambda records: records[0].update(test_images_shared="1"),
            lambda records: records[0]["test"].pop("images"),
            lambda records: records[0]["test"].update(images=None),
            lambda records: records[0]["pretraining"].update(manifest_sha256=7),
            lambda records: records[0]["pretraining"].update(folder=None),
        ],
    )
    def test_a_record_that_nothing_here_wrote_is_told_in_a_sentence(
        self, overlaps, web, mine, spoil
    ):
        path = mine / "overlap.json"
        content = json.loads(path.read_text())
        spoil(content["comparisons"])
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="overlap.json is no semaim-overlap file.*remove it"):
            read_overlaps(mine)
        with pytest.raises(InputError, match="overlap.json is no semaim-overlap file.*remove it"):
            compared(web, mine)

    def test_those_of_the_usual_folder_are_at_hand(self, overlaps, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.delenv("SEMAIM_DATA", raising=False)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert overlaps_at_hand() is None
        assert overlaps_at_hand("..") == overlaps
        (tmp_path / "elsewhere/data").mkdir()
        assert overlaps_at_hand() is None
        monkeypatch.setenv("SEMAIM_DATA", str(tmp_path))
        assert overlaps_at_hand() == overlaps

    def test_frozen_features_of_weights_that_saw_test_images_are_flagged(self, overlaps):
        verdict = judge(result(self.mine, weights(self.web)), overlaps)
        assert verdict.state == "seen"
        assert verdict.note == (
            "1 of 5 test images (mine val) were in the pretraining data (web pages train)"
        )

    def test_of_a_finetuned_model_the_weights_that_it_started_from_count(self, overlaps):
        trained = weights(dict(manifest_sha256=self.mine), started_from=weights(self.web))
        assert judge(result(self.mine, trained, training={}), overlaps).state == "seen"
        scratch = weights(dict(manifest_sha256=self.mine))
        assert judge(result(self.mine, scratch, training={}), overlaps).state == "none"

    def test_what_the_weights_themselves_were_started_from_counts_too(self, overlaps):
        chain = weights(self.clean, started_from=weights(self.web))
        assert judge(result(self.mine, chain), overlaps).state == "seen"
        whole = weights(self.clean, loaded=weights(self.web))
        assert judge(result(self.mine, whole), overlaps).state == "seen"
        tuned = weights(None, loaded=weights(self.clean, weights(self.web)))
        assert judge(result(self.mine, tuned, training={}), overlaps).state == "seen"

    def test_images_seen_twice_are_told_once(self, overlaps):
        note = judge(result(self.mine, weights(self.web)), overlaps).note
        again = weights(self.web, weights(self.web))
        assert judge(result(self.mine, again), overlaps).note == note

    def test_a_comparison_that_found_none_says_so(self, overlaps):
        verdict = judge(result(self.mine, weights(self.clean), folder="val"), overlaps)
        assert (verdict.state, verdict.note) == ("clean", None)
        assert judge(result(self.mine, None), overlaps).state == "none"

    @pytest.mark.parametrize("part", ["train", "val/cat", "val2"])
    def test_a_comparison_of_another_part_says_nothing_unless_it_covers_this_one(
        self, overlaps, part
    ):
        verdict = judge(result(self.mine, weights(self.clean), folder=part), overlaps)
        assert verdict.state == ("clean" if part == "val/cat" else "unchecked")

    def test_a_comparison_of_a_part_flags_but_does_not_clear(self, overlaps, mine, web, tmp_path):
        (mine / "overlap.json").unlink()
        compared(tmp_path / "clean", mine / "val/cat")
        compared(web, mine / "val/cat")
        found = read_overlaps(mine)
        assert judge(result(self.mine, weights(self.clean)), found).state == "clean"
        whole = dict(folder="val")
        assert judge(result(self.mine, weights(self.clean), **whole), found).state == "unchecked"
        assert judge(result(self.mine, weights(self.web), **whole), found).state == "seen"

    def test_other_manifests_are_unchecked_and_unrecorded_data_unknown(self, overlaps):
        other = dict(manifest_sha256="0" * 64, folder="train")
        assert judge(result(self.mine, weights(other)), overlaps).state == "unchecked"
        assert judge(result(self.mine, weights(None)), overlaps).state == "unknown"
        assert judge(result(None, weights(self.web)), overlaps).state == "unknown"
        chain = weights(None, started_from=weights(self.web))
        assert judge(result(self.mine, chain), overlaps).state == "seen"

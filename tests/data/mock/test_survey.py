"""The mock survey against answers known another way: astropy's profiles and cosmology, Fourier
modes, Pillow's JPEG."""

import io

import numpy as np
import pytest
import torch
from astropy import units
from astropy.cosmology import FlatLambdaCDM
from astropy.modeling.models import Sersic2D
from astropy.visualization import make_lupton_rgb
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock import camera, others, population, volunteers
from galaxymorph.data.mock.survey import bulge_light, mock_survey, paint

CODE = {kind: float(code) for code, kind in enumerate(population.Kinds._fields)}


def one(**changes):
    """The truth of one plain face-on galaxy of r = 15 and 5 arcsec, with changes; no arms, bar,
    dust, neighbours or stars."""
    drawn = population.draw(1, generator=torch.Generator().manual_seed(0))
    plain = {
        "kind": CODE["spiral"],
        "magnitude": 15.0,
        "redshift": 0.02,
        "bulge_radius": 5.0,
        "bulge_index": 4.0,
        "bulge_ratio": 1.0,
        "disc_scale": 3.0,
        "thickness": 0.15,
        "ratio": 1.0,
        "pitch": 15.0,
        "arms": 2.0,
        "arm_sharpness": 1.0,
        "spin": 1.0,
        "bar_length": 3.0,
        "neighbour_radius": 1.0,
        "neighbour_ratio": 1.0,
        "width": 64.0,
        "seeing": 1.0,
    }
    truth = dict.fromkeys(drawn, 0.0) | plain | changes
    return {name: torch.tensor([float(value)]) for name, value in truth.items()}


def painted(size=257, pixel=0.25, **changes):
    """The r-band light of one galaxy, and its pixel coordinates in arcsec."""
    light = paint(
        one(**changes),
        size=size,
        pixel=torch.tensor([pixel]),
        generator=torch.Generator().manual_seed(1),
    )
    line = (np.arange(size) - (size - 1) / 2) * pixel
    return light[0, 1].double().numpy(), *np.meshgrid(line, line)


@pytest.fixture(scope="module")
def mock():
    return mock_survey(800, seed=3)


@pytest.mark.parametrize("index", [0.7, 1.0, 2.5, 4.0, 6.0])
def test_sersic_is_astropys_with_unit_flux(index):
    line = torch.linspace(-20, 20, 81, dtype=torch.float64)[None]
    x, y = line[:, None, :].expand(-1, 81, -1), line[:, :, None].expand(-1, -1, 81)
    t = {"angle": 30.0, "bulge_ratio": 0.6, "bulge_radius": 4.0, "bulge_index": index}
    t = {name: torch.tensor(value, dtype=torch.float64).view(1, 1, 1) for name, value in t.items()}
    ours = bulge_light(t, x, y)[0].numpy()
    astropys = Sersic2D(amplitude=1, r_eff=4, n=index, ellip=0.4, theta=np.radians(30))
    u, v = np.meshgrid(line[0], line[0])
    shape = astropys(u, v)
    away = np.hypot(u, v) > 0.4
    np.testing.assert_allclose((ours / shape)[away], (ours / shape)[40, 50], rtol=4e-3)
    # Half of the unit flux lies within the ellipse of the half-light radius: integrate in log
    # radius.
    r = np.geomspace(1e-6, 4, 4000)
    ring = 2 * np.pi * r * Sersic2D(amplitude=1, r_eff=4, n=index)(r, 0 * r)
    half = np.trapezoid(ring, r) * (ours / shape)[40, 50] * 0.6
    assert half == pytest.approx(0.5, rel=5e-3)


def test_flux_of_a_painted_galaxy_is_its_magnitude():
    for changes in (
        {"bulge_fraction": 1.0, "bulge_index": 1.5},
        {"young": 0.4},
        {"young": 0.4, "bar_strength": 0.8},
    ):
        light, *_ = painted(**changes)
        assert light.sum() * 0.25**2 == pytest.approx(10 ** (0.4 * 7.5), rel=0.03)


def test_bulge_cusp_is_averaged_over_pixels():
    coarse, *_ = painted(size=65, pixel=1.0, bulge_fraction=1.0)
    fine, *_ = painted(size=65 * 9, pixel=1 / 9, bulge_fraction=1.0)
    averaged = fine.reshape(65, 9, 65, 9).mean((1, 3))
    np.testing.assert_allclose(coarse[28:37, 28:37], averaged[28:37, 28:37], rtol=0.1)
    point_sampled = float(
        bulge_light({n: v[:, None, None] for n, v in one().items()}, *[torch.zeros(1, 1, 1)] * 2)
    )
    assert point_sampled * 1000 > 5 * averaged[32, 32]  # which is what averaging is for


@pytest.mark.parametrize("inclination", [0, 40, 65])
def test_inclined_disc_has_the_axis_ratio_of_an_oblate_spheroid(inclination):
    cosine, thickness = np.cos(np.radians(inclination)), 0.15
    ratio = np.sqrt(cosine**2 + thickness**2 * (1 - cosine**2))
    light, x, y = painted(inclination=inclination, ratio=ratio, angle=25)
    weight = light / light.sum()
    covariance = np.array(
        [
            [(weight * x * x).sum(), (weight * x * y).sum()],
            [(weight * x * y).sum(), (weight * y * y).sum()],
        ]
    )
    minor, major = np.linalg.eigvalsh(covariance)
    assert np.sqrt(minor / major) == pytest.approx(ratio, abs=0.01)
    if inclination:
        _, vectors = np.linalg.eigh(covariance)
        assert np.degrees(np.arctan(vectors[1, 1] / vectors[0, 1])) == pytest.approx(25, abs=1)
    drawn = population.draw(500, generator=torch.Generator().manual_seed(2))
    disc = drawn["kind"] == CODE["spiral"]
    expected = (
        drawn["inclination"].deg2rad().cos() ** 2
        + (drawn["thickness"] * drawn["inclination"].deg2rad().sin()) ** 2
    ).sqrt()
    torch.testing.assert_close(drawn["ratio"][disc], expected[disc], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_arms_are_counted_by_their_fourier_mode_and_have_their_pitch(arms):
    light, x, y = painted(size=401, pixel=0.1, young=0.6, arm_contrast=0.9, arms=arms, pitch=20)
    radius, theta = np.hypot(x, y), np.arctan2(y, x)
    log_r, phases, powers = [], [], np.zeros(6)
    for r in np.linspace(5, 9, 9):
        ring = np.abs(radius - r) < 0.1
        modes = np.array(
            [np.mean(light[ring] * np.exp(-1j * m * theta[ring])) for m in range(1, 7)]
        )
        powers += np.abs(modes)
        log_r.append(np.log(r))
        phases.append(np.angle(modes[arms - 1]))
    assert powers.argmax() + 1 == arms
    slope = np.polyfit(log_r, np.unwrap(phases), 1)[
        0
    ]  # the crest follows theta = ln r / tan(pitch)
    assert np.degrees(np.arctan(arms / abs(slope))) == pytest.approx(20, abs=0.7)


@pytest.mark.parametrize(("twist", "angle"), [(0, 0), (40, 0), (90, 30), (200, 100)])
def test_lopsided_disc_is_heavier_on_the_side_that_its_twist_points_to(twist, angle):
    light, x, y = painted(lopsided=0.6, arm_twist=twist, angle=angle)
    heavier = np.degrees(np.arctan2((light * y).sum(), (light * x).sum()))
    assert (heavier - twist - angle + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_dust_lane_dims_and_reddens_the_middle_of_an_edge_on_disc():
    edge_on = {"inclination": 88, "ratio": 0.16, "young": 0.3}
    clean = paint(
        one(**edge_on),
        size=65,
        pixel=torch.tensor([0.3]),
        generator=torch.Generator().manual_seed(1),
    )[0]
    dusty = paint(
        one(dust=1.2, **edge_on),
        size=65,
        pixel=torch.tensor([0.3]),
        generator=torch.Generator().manual_seed(1),
    )[0]
    g, r, i = (dusty / clean)[:, 32, 32].tolist()
    assert g < r < i < 0.8
    torch.testing.assert_close(dusty[:, 10, 32], clean[:, 10, 32], rtol=0.01, atol=0)


def g_minus_r(light):
    g, r = light.sum(-1)[:2].tolist()
    return -2.5 * np.log10(g / r)


def test_arms_are_painted_bluer_than_the_disc_between_them_and_that_bluer_than_the_bulge():
    generator = torch.Generator().manual_seed(0)
    drawn = population.draw(200, generator=generator)
    spirals = (
        (drawn["kind"] == CODE["spiral"])
        & (drawn["arm_contrast"] > 0.5)
        & (drawn["inclination"] < 50)
        & (drawn["bulge_fraction"] > 0.1)
        & (drawn["bar_strength"] == 0)
        & (drawn["ring"] == 0)
    )
    alone = {"neighbour": torch.zeros(200), "stars": torch.zeros(200)}
    truth = {name: value[spirals] for name, value in (drawn | alone).items()}
    pixel = truth["disc_scale"] / 16
    light = paint(truth, size=129, pixel=pixel, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(129) - 64.0] * 2, indexing="ij")
    radius = torch.hypot(x, y)  # in 16ths of the scale length
    ring = (radius > 24) & (radius < 40)
    assert len(light) >= 10
    for galaxy in light:
        r = galaxy[1][ring]
        arms, between = ring & (galaxy[1] > r.quantile(0.8)), ring & (galaxy[1] < r.quantile(0.2))
        assert (
            g_minus_r(galaxy[:, arms])
            < g_minus_r(galaxy[:, between])
            < g_minus_r(galaxy[:, radius < 2])
        )


def test_a_painted_galaxy_has_the_colour_of_its_parts():
    """Half of the disc's red light young: in g - r the mean of the two in flux, not in
    magnitudes."""
    light = paint(
        one(redshift=0, young=0.5, colour=0.8, young_colour=0.2),
        size=65,
        pixel=torch.ones(1),
        generator=torch.Generator(),
    )[0]
    assert g_minus_r(light.flatten(1)) == pytest.approx(
        -2.5 * np.log10((10**-0.32 + 10**-0.08) / 2), abs=0.01
    )


@pytest.mark.long
def test_ellipticals_are_redder_than_spirals_and_these_than_irregulars(mock):
    truth = mock.truth
    colour = truth.groupby("kind", observed=True)["colour"].mean()
    assert colour["elliptical"] > colour["spiral"] > colour["irregular"]


def test_distances_agree_with_astropys_cosmology(mock):
    truth = mock.truth[(mock.truth["redshift"] > 0.0031) & (mock.truth["redshift"] < 0.2)]
    z = truth["redshift"].to_numpy()
    modulus = FlatLambdaCDM(H0=70, Om0=0.3).distmod(z) / units.mag
    np.testing.assert_allclose(truth["magnitude"] - truth["absolute"], modulus.value, atol=0.03)


def test_point_source_has_the_width_of_the_seeing():
    size, pixel, seeing = 65, 0.396, 1.1
    light = torch.zeros(1, 3, size, size)
    light[:, :, 32, 32] = 1e9  # bright beyond any noise
    seen = camera.expose(
        light,
        pixel=torch.tensor([pixel]),
        seeing=torch.tensor([seeing]),
        shift=torch.zeros(1, 3, 2),
        generator=torch.Generator().manual_seed(0),
    )[0]
    x = (np.arange(size) - 32) * pixel
    radius2 = x[:, None] ** 2 + x**2
    for band, fwhm in enumerate(camera.SEEING):
        core = (seeing * fwhm / 2.3548) ** 2 + pixel**2 / 12
        expected = sum(
            share * pixel**2 / (2 * np.pi * s2) * np.exp(-radius2 / 2 / s2)
            for share, s2 in ((0.9, core), (0.1, core * 6.29))
        )
        np.testing.assert_allclose(seen[band].numpy() / 1e9, expected, atol=2e-3 * expected.max())


def test_bands_shift_by_arcsec():
    light = torch.zeros(1, 3, 65, 65)
    light[:, :, 32, 32] = 1e9
    shift = torch.tensor([[[0.0, 0.0], [0.3, 0.0], [0.0, -0.4]]])
    seen = camera.expose(
        light,
        pixel=torch.tensor([0.4]),
        seeing=torch.ones(1),
        shift=shift,
        generator=torch.Generator().manual_seed(0),
    )[0]
    x = (torch.arange(65) - 32) * 0.4
    for band in range(3):
        centroid = [float((seen[band].sum(axis) * x).sum() / seen[band].sum()) for axis in (0, 1)]
        assert centroid == pytest.approx(shift[0, band].tolist(), abs=0.01)


@pytest.mark.parametrize("binning", [1, 3])
def test_sky_noise_is_that_of_sdss(binning):
    dark = torch.zeros(20, 3, 64, 64)
    pixel = torch.full((20,), binning * camera.PIXEL)
    sky = camera.expose(
        dark,
        pixel=pixel,
        seeing=torch.ones(20),
        shift=torch.zeros(20, 3, 2),
        generator=torch.Generator().manual_seed(0),
    )
    per_camera_pixel = (
        sky.std((0, 2, 3)) * camera.PIXEL**2 * binning
    )  # averaging n² pixels divides noise by n
    assert per_camera_pixel.tolist() == pytest.approx(camera.SKY_NOISE, rel=0.02)


def test_photon_noise_grows_as_the_root_of_the_light():
    light = torch.full((4, 3, 64, 64), 1e4)
    seen = camera.expose(
        light,
        pixel=torch.full((4,), camera.PIXEL),
        seeing=torch.ones(4),
        shift=torch.zeros(4, 3, 2),
        generator=torch.Generator().manual_seed(0),
    )
    electrons = seen * camera.PIXEL**2 * torch.tensor(camera.ELECTRONS).view(3, 1, 1)
    assert (electrons.var((0, 2, 3)) / electrons.mean((0, 2, 3))).tolist() == pytest.approx(
        [1, 1, 1], rel=0.05
    )


def test_lupton_is_astropys():
    generator = torch.Generator().manual_seed(0)
    g, r, i = torch.randn(3, 100, 100, generator=generator, dtype=torch.float64) * 10 ** (
        2 * torch.rand(100, 100, generator=generator, dtype=torch.float64)
    )  # negative pixels, faint ones, and some that saturate
    ours = camera.lupton_rgb(i, r, g, stretch=0.7, Q=6.0).numpy()
    astropys = make_lupton_rgb(i.numpy(), r.numpy(), g.numpy(), stretch=0.7, Q=6)
    assert astropys.max() == 255 and (astropys == 0).any()
    assert np.abs(ours - astropys).max() <= 1  # rounding down just below and just at a whole number
    assert (ours == astropys).mean() > 0.999


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("size", [64, 72])
def test_jpeg_is_pillows(quality, size):
    texture = torch.rand(8, 3, size + 4, size + 4, generator=torch.Generator().manual_seed(0)) * 255
    images = torch.nn.functional.avg_pool2d(texture, 5, stride=1).round()
    error, loss = [], []
    for image, decoded in zip(images, camera.jpeg(images, quality=quality), strict=True):
        file = io.BytesIO()
        Image.fromarray(image.byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        pillows = np.asarray(Image.open(file)).transpose(2, 0, 1).astype(float)
        error.append(np.abs(decoded.numpy() - pillows).mean())
        loss.append(np.abs(pillows - image.numpy()).mean())
    # libjpeg rounds colours to whole numbers before its cosines: of the order of 1 of 255, far
    # below what is lost.
    assert np.mean(error) < 1.5
    assert np.mean(error) < 0.3 * np.mean(loss)


def test_enlarging_keeps_the_centre_and_magnifies():
    zoom = torch.tensor([1.0, 2.0])
    matrix = camera.enlarge_matrix(33, zoom)
    ramp = torch.arange(33.0)
    torch.testing.assert_close(matrix @ ramp, torch.stack((ramp, 16 + (ramp - 16) / 2)))


def test_same_seed_same_bytes_whatever_n_and_threads_are(mock):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        again = mock_survey(40, seed=3)
    finally:
        torch.set_num_threads(threads)
    assert mock_survey(1, seed=3).images.equal(again.images[:1])
    assert torch.get_num_threads() == threads
    assert torch.equal(again.images, mock.images[:40])
    assert torch.equal(again.votes, mock.votes[:40])
    assert again.ids.tolist() == mock.ids[:40].tolist()
    other = mock_survey(40, seed=4)
    assert not torch.equal(other.images, again.images)
    assert len(set(mock.ids)) == 800


@pytest.mark.parametrize("size", [50, 128])
def test_other_sizes_show_the_same_galaxies(size, mock):
    survey = mock_survey(8, image_size=size, seed=3)
    assert survey.images.shape == (8, 3, size, size)
    assert survey.images.dtype == torch.uint8
    there = torch.nn.functional.interpolate(survey.images.float(), size=(64, 64), mode="area")
    for ours, same in zip(there, mock.images[:8].float(), strict=True):
        assert np.corrcoef(ours.mean(0).flatten(), same.mean(0).flatten())[0, 1] > 0.9
    assert (survey.truth["redshift"] == mock.truth["redshift"][:8]).all()


def test_impossible_surveys_are_refused():
    with pytest.raises(ValueError, match="n=0"):
        mock_survey(0)
    with pytest.raises(ValueError, match="image_size=8"):
        mock_survey(1, image_size=8)


def test_votes_obey_the_tree(mock):
    votes = mock.votes.numpy()
    assert votes.shape == (800, 37)
    reached = galaxy_zoo_tree.reached(votes)
    for question, where in enumerate(galaxy_zoo_tree.SLICES.values()):
        np.testing.assert_allclose(votes[:, where].sum(1), reached[:, question], atol=1e-5)
    counts = votes * mock.volunteers.numpy()[:, None]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)  # whole volunteers
    assert 40 < mock.volunteers.float().mean() < 46
    assert mock.volunteers.min() >= 20


def test_votes_converge_to_the_opinions():
    generator = torch.Generator().manual_seed(0)
    opinions = torch.rand(4, 37, generator=generator)
    fractions = torch.cat(
        [
            opinions[:, where] / opinions[:, where].sum(1, keepdim=True)
            for where in galaxy_zoo_tree.SLICES.values()
        ],
        1,
    )
    votes = volunteers.vote(opinions, torch.full((4,), 1_000_000), generator=generator)
    np.testing.assert_allclose(votes, galaxy_zoo_tree.cumulative(fractions.numpy()), atol=5e-3)


def test_classes_mean_what_they_say(mock):
    labels = galaxy_zoo_tree.hard_labels(mock.votes.numpy(), galaxy_zoo_tree.CLASSES[4])
    share = np.bincount(labels + 1, minlength=5) / len(labels)
    assert 0.15 < share[0] < 0.4  # ambiguous
    assert (share[1:] > 0.1).all() and (share[1:] < 0.3).all()
    round_, between, edge_on, spiral = (mock.truth[labels == label] for label in range(4))
    assert (spiral["kind"].isin(["spiral", "merger"])).mean() > 0.95
    assert (edge_on["ratio"] < 0.6).mean() > 0.95
    assert round_["ratio"].median() > 0.8 > between["ratio"].median() > 0.45
    odd = galaxy_zoo_tree.per_question(mock.votes.numpy())[:, galaxy_zoo_tree.column("odd", "yes")]
    assert (odd > 0.5).mean() < 0.15


def test_structure_that_cannot_be_resolved_is_not_seen():
    truth = one(arm_contrast=0.8, young=0.5, r50=5, r90=10, snr=20)
    opinion = {
        name: float(
            volunteers.opinions(truth | changes, generator=torch.Generator().manual_seed(0))[0, 1]
        )
        for name, changes in {
            "clear": {},
            "small": {"r50": torch.tensor([1.0]), "r90": torch.tensor([2.0])},
            "faint": {"snr": torch.tensor([1.0])},
        }.items()
    }
    # column 1 is a vote for features
    assert opinion["small"] < opinion["clear"] and opinion["faint"] < opinion["clear"]


def test_varied_conditions_leave_the_plain_survey_as_it_is():
    plain, varied = (mock_survey(64, image_size=32, seed=9, varied=v) for v in (False, True))
    assert "noise" not in plain.truth and not plain.images.equal(varied.images)
    assert mock_survey(40, image_size=32, seed=9, varied=True).images.equal(varied.images[:40])
    truth = varied.truth
    assert truth.noise.between(0.4, 1.8).all() and truth.gain.between(0.5, 2.0).all()
    assert truth.quality.nunique() == 2  # one for each chunk of 32
    frames = truth.width / truth.r90
    assert frames.between(2.2 * 0.85, 8.5 * 1.15).all() and frames.max() > 2 * frames.min()


def test_noise_is_multiplied_as_wanted():
    light, pixel = torch.zeros(2, 3, 64, 64), torch.full((2,), camera.PIXEL)
    how = {"seeing": torch.ones(2), "shift": torch.zeros(2, 3, 2)}
    noise = torch.tensor([1.0, 2.0])
    seen = camera.expose(
        light, pixel=pixel, noise=noise, generator=torch.Generator().manual_seed(0), **how
    )
    assert (seen[1].std() / seen[0].std()).item() == pytest.approx(2.0, rel=0.03)
    assert seen[0, 1].std().item() == pytest.approx(camera.SKY_NOISE[1] / camera.PIXEL**2, rel=0.05)


@pytest.mark.parametrize("kind", others.KINDS)
def test_pictures_without_a_galaxy_are_drawn_reproducibly(kind):
    first, second = others.draw(kind, 3, size=40), others.draw(kind, 3, size=40)
    assert first.shape == (3, 3, 40, 40) and (first == second).all()
    assert (first[0] != first[1]).any() and (first != others.draw(kind, 3, size=40, seed=1)).any()


def test_published_votes_are_of_the_same_galaxies_and_correct_what_distance_hides():
    drawn, published = (mock_survey(1500, seed=3, published=is_so) for is_so in (False, True))
    assert torch.equal(drawn.images, published.images)
    gain, share = published.votes - drawn.votes, published.votes.mean(0)
    spirals = drawn.truth[(drawn.truth.kind == "spiral") & (drawn.truth.arm_contrast > 0.3)]
    small = (spirals.r90 / spirals.seeing).sort_values().index
    features = gain[:, galaxy_zoo_tree.column("smooth", "features")].numpy()
    assert features[small[:200]].mean() > 0.03 + abs(features[small[-200:]].mean())
    odd = galaxy_zoo_tree.column("odd", "yes")
    assert 0.2 < share[odd] < 0.35 and gain[:, odd].mean() > 0.08

"""Words of the synthetic tables: categories, countries, and real words of twelve languages in eight scripts."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Category: its child categories.
CATEGORIES = {
    "music": ("pop", "rock", "classical", "hip hop"),
    "gaming": ("speedrun", "strategy", "esports", "retro games"),
    "sports": ("football", "tennis", "swimming", "martial arts"),
    "news": ("politics", "economy", "weather", "interviews"),
    "cooking": ("baking", "street food", "vegan", "desserts"),
    "travel": ("beaches", "mountains", "cities", "camping"),
    "science": ("space", "physics", "biology", "mathematics"),
    "comedy": ("stand-up", "sketches", "parody", "pranks"),
    "fashion": ("makeup", "hairstyles", "outfits", "jewellery"),
    "cars": ("racing", "repairs", "electric cars", "road trips"),
}

# Country: language, hours ahead of UTC, share of users.
COUNTRIES = {
    "US": ("en", -6.0, 18),
    "GB": ("en", 0.0, 5),
    "IN": ("hi", 5.5, 16),
    "BR": ("pt", -3.0, 9),
    "MX": ("es", -6.0, 7),
    "ES": ("es", 1.0, 3),
    "FR": ("fr", 1.0, 5),
    "DE": ("de", 1.0, 6),
    "GR": ("el", 2.0, 2),
    "RU": ("ru", 3.0, 7),
    "EG": ("ar", 2.0, 5),
    "SA": ("ar", 3.0, 3),
    "CN": ("zh", 8.0, 6),
    "JP": ("ja", 9.0, 5),
    "KR": ("ko", 9.0, 3),
}

# Language: share of videos.
LANGUAGES = {
    "en": 26, "es": 10, "pt": 8, "fr": 6, "de": 6, "ru": 8, "ar": 8, "hi": 10, "zh": 6, "ja": 6, "ko": 4, "el": 2,
}  # fmt: skip
UNSPACED_LANGUAGES = ("zh", "ja")  # written without spaces between words

DEVICES = {"phone": 60, "desktop": 18, "tv": 12, "tablet": 7, None: 3}  # share of sessions

COMMON_TAGS = ("shorts", "live", "4k", "tutorial", "review", "2025")

# Language: words for any video, six; then per category, in the order of CATEGORIES, five.
WORDS = {
    "en": (
        "best new how why top amazing",
        "song guitar concert piano album", "game level boss player quest", "goal match champion training final",
        "election report economy minister update", "recipe bread soup kitchen chocolate",
        "beach mountain journey island train", "planet experiment atom telescope robot",
        "joke funny laugh prank sketch", "dress makeup style shoes hair", "engine race wheel driver garage",
    ),
    "es": (
        "mejor nuevo cómo increíble hoy gran",
        "canción guitarra concierto piano disco", "juego nivel jefe jugador misión",
        "gol partido campeón entrenamiento final", "elección informe economía ministro noticia",
        "receta pan sopa cocina chocolate", "playa montaña viaje isla tren",
        "planeta experimento átomo telescopio robot", "chiste gracioso risa broma comedia",
        "vestido maquillaje estilo zapatos cabello", "motor carrera rueda conductor taller",
    ),
    "pt": (
        "melhor novo como incrível hoje grande",
        "canção guitarra concerto piano álbum", "jogo nível chefe jogador missão",
        "gol partida campeão treino final", "eleição relatório economia ministro notícia",
        "receita pão sopa cozinha chocolate", "praia montanha viagem ilha trem",
        "planeta experimento átomo telescópio robô", "piada engraçado riso pegadinha comédia",
        "vestido maquiagem estilo sapatos cabelo", "motor corrida roda motorista oficina",
    ),
    "fr": (
        "meilleur nouveau comment pourquoi incroyable grand",
        "chanson guitare concert piano album", "jeu niveau boss joueur quête",
        "but match champion entraînement finale", "élection rapport économie ministre actualité",
        "recette pain soupe cuisine chocolat", "plage montagne voyage île train",
        "planète expérience atome télescope robot", "blague drôle rire farce sketch",
        "robe maquillage style chaussures cheveux", "moteur course roue pilote garage",
    ),
    "de": (
        "beste neu wie warum unglaublich heute",
        "Lied Gitarre Konzert Klavier Album", "Spiel Stufe Endgegner Spieler Aufgabe",
        "Tor Partie Meister Training Finale", "Wahl Bericht Wirtschaft Minister Nachricht",
        "Rezept Brot Suppe Küche Schokolade", "Strand Berg Reise Insel Zug",
        "Planet Versuch Atom Fernrohr Roboter", "Witz lustig Lachen Streich Sketch",
        "Kleid Schminke Stil Schuhe Haare", "Motor Rennen Rad Fahrer Werkstatt",
    ),
    "ru": (
        "лучший новый как почему сегодня большой",
        "песня гитара концерт пианино альбом", "игра уровень главарь игрок задание",
        "гол матч чемпион тренировка финал", "выборы отчёт экономика министр новости",
        "рецепт хлеб суп кухня шоколад", "пляж вершина путешествие остров поезд",
        "планета опыт атом телескоп робот", "шутка смешно смех розыгрыш юмор",
        "платье макияж стиль туфли волосы", "двигатель гонка колесо водитель гараж",
    ),
    "ar": (
        "أفضل جديد كيف لماذا اليوم كبير",
        "أغنية جيتار حفلة بيانو ألبوم", "لعبة مستوى زعيم لاعب مهمة",
        "هدف مباراة بطل تدريب نهائي", "انتخابات تقرير اقتصاد وزير أخبار",
        "وصفة خبز حساء مطبخ شوكولاتة", "شاطئ جبل رحلة جزيرة قطار",
        "كوكب تجربة ذرة تلسكوب روبوت", "نكتة مضحك ضحك مقلب كوميديا",
        "فستان مكياج أسلوب حذاء شعر", "محرك سباق عجلة سائق مرآب",
    ),
    "hi": (
        "सबसे नया कैसे क्यों आज बड़ा",
        "गाना गिटार संगीत पियानो एल्बम", "खेल स्तर बॉस खिलाड़ी मिशन",
        "गोल मैच चैंपियन प्रशिक्षण फाइनल", "चुनाव रिपोर्ट अर्थव्यवस्था मंत्री समाचार",
        "रेसिपी रोटी सूप रसोई चॉकलेट", "समुद्र पहाड़ यात्रा द्वीप ट्रेन",
        "ग्रह प्रयोग परमाणु दूरबीन रोबोट", "चुटकुला मज़ेदार हंसी मज़ाक हास्य",
        "पोशाक मेकअप शैली जूते बाल", "इंजन दौड़ पहिया चालक गैराज",
    ),
    "zh": (
        "最好 新 如何 为什么 今天 精彩",
        "歌曲 吉他 演唱会 钢琴 专辑", "游戏 关卡 首领 玩家 任务",
        "进球 比赛 冠军 训练 决赛", "选举 报告 经济 部长 新闻",
        "食谱 面包 汤 厨房 巧克力", "海滩 高山 旅行 岛屿 火车",
        "行星 实验 原子 望远镜 机器人", "笑话 搞笑 大笑 恶作剧 喜剧",
        "连衣裙 化妆 风格 鞋子 头发", "发动机 赛车 车轮 司机 车库",
    ),
    "ja": (
        "最高 新しい どうやって なぜ 今日 すごい",
        "うた ギター コンサート ピアノ アルバム", "ゲーム レベル ボス プレイヤー クエスト",
        "ゴール 試合 チャンピオン 練習 決勝", "選挙 報告 経済 大臣 ニュース",
        "レシピ パン スープ キッチン チョコレート", "ビーチ やま たび しま 電車",
        "わくせい じっけん 原子 望遠鏡 ロボット", "ジョーク おもしろい わらい いたずら コント",
        "ドレス メイク スタイル くつ かみ", "エンジン レース タイヤ ドライバー ガレージ",
    ),
    "ko": (
        "최고 새로운 어떻게 왜 오늘 놀라운",
        "노래 기타 콘서트 피아노 앨범", "게임 레벨 보스 플레이어 퀘스트",
        "골 경기 챔피언 훈련 결승", "선거 보고서 경제 장관 뉴스",
        "요리법 빵 수프 부엌 초콜릿", "해변 산 여행 섬 기차",
        "행성 실험 원자 망원경 로봇", "농담 재미있는 웃음 장난 코미디",
        "드레스 화장 스타일 신발 머리", "엔진 경주 바퀴 운전자 차고",
    ),
    "el": (
        "καλύτερο νέο πώς γιατί σήμερα μεγάλο",
        "τραγούδι κιθάρα συναυλία πιάνο δίσκος", "παιχνίδι επίπεδο αρχηγός παίκτης αποστολή",
        "γκολ αγώνας πρωταθλητής προπόνηση τελικός", "εκλογές έκθεση οικονομία υπουργός νέα",
        "συνταγή ψωμί σούπα κουζίνα σοκολάτα", "παραλία βουνό ταξίδι νησί τρένο",
        "πλανήτης πείραμα άτομο τηλεσκόπιο ρομπότ", "αστείο γέλιο φάρσα κωμωδία ανέκδοτο",
        "φόρεμα μακιγιάζ στυλ παπούτσια μαλλιά", "κινητήρας κούρσα ρόδα οδηγός γκαράζ",
    ),
}  # fmt: skip

_Indices = npt.NDArray[np.integer[Any]]
_Random = np.random.Generator
_ENGLISH = list(LANGUAGES).index("en")
_UNSPACED = [list(LANGUAGES).index(name) for name in UNSPACED_LANGUAGES]


@functools.cache
def _lexicon() -> tuple[pa.Array, _Indices]:
    """All words, and where their groups start: [languages, 1 + categories], first those for any video."""
    groups = [group.split() for language in WORDS.values() for group in language]
    starts = np.cumsum([0] + [len(group) for group in groups[:-1]]).reshape(len(WORDS), -1)
    return pa.array([word for group in groups for word in group]), starts


def named(names: Sequence[str | None], indices: _Indices) -> pa.Array:
    """[n] strings: the name at each index [n]."""
    return pa.array(names, pa.string()).take(pa.array(indices))


def some_missing(rng: _Random, values: pa.Array, share: float) -> pa.Array:
    """The values, with about this share of them null."""
    return pc.if_else(pa.array(rng.random(len(values)) < share), pa.scalar(None, values.type), values)


def titles(rng: _Random, language: _Indices, category: _Indices) -> pa.Array:
    """[n] strings: two to five words of the language, most of them of the category; three in ten with a number.

    Args:
        rng: what to draw from.
        language: [n] indices into LANGUAGES.
        category: [n] indices into CATEGORIES.
    """
    lexicon, starts = _lexicon()
    n = len(category)
    length = rng.integers(2, 6, n)
    parts = []
    for place, of_category in enumerate((False, True, True, False, True)):
        word = starts[language, (category + 1) * of_category] + rng.integers(5 if of_category else 6, size=n)
        parts.append(lexicon.take(pa.array(word, mask=length <= place)))
    parts.append(pa.array(rng.integers(1, 100, n), mask=rng.random(n) < 0.7).cast(pa.string()))
    spaced, unspaced = (pc.binary_join_element_wise(*parts, gap, null_handling="skip") for gap in (" ", ""))
    return pc.if_else(pa.array(np.isin(language, _UNSPACED)), unspaced, spaced)


def tags(rng: _Random, language: _Indices, category: _Indices) -> pa.Array:
    """[n] lists of 0 to 8 tags: words of the category in the language or in English, and COMMON_TAGS."""
    lexicon, starts = _lexicon()
    n = len(category)
    either = np.where(rng.random((n, 5)) < 0.5, language[:, None], _ENGLISH)
    of_category = starts[either, category[:, None] + 1] + np.arange(5)
    common = np.tile(len(lexicon) + np.arange(len(COMMON_TAGS)), (n, 1))
    names = pa.concat_arrays([lexicon, pa.array(COMMON_TAGS)])
    return _some_of(rng, names, np.hstack([of_category, common]), rng.binomial(8, 0.45, n))


def child_categories(rng: _Random, category: _Indices) -> pa.Array:
    """[n] lists of 0 to 3 different child categories of the category."""
    names = pa.array([child for children in CATEGORIES.values() for child in children])
    return _some_of(rng, names, category[:, None] * 4 + np.arange(4), rng.integers(4, size=len(category)))


def _some_of(rng: _Random, names: pa.Array, choices: _Indices, counts: _Indices) -> pa.Array:
    """Lists of counts [n] names out of each row's choices [n, m], which are indices into `names`."""
    order = np.argsort(rng.random(choices.shape), axis=1)
    kept = np.take_along_axis(choices, order, axis=1)[np.arange(choices.shape[1]) < counts[:, None]]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(kept)))

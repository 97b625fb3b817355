"""Public data sets of a few lines, as they are published."""

Files = dict[str, bytes]
ML_1M: Files = {
    "ratings.dat": b"1::10::5::978300760\n1::11::3::978302109\n2::10::4::978298413\n",
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n",
    "movies.dat": (
        '10::Caf\xe9: The "Noir", A (1995)::Comedy|Drama|Film-Noir\n11::Only: A Year (1994)::War\n12::Nothing::\n'
    ).encode("latin-1"),
}
ML_CSV: Files = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n7,10,3.5,1112486027\n7,11,4.0,1112484676\n2,10,0.5,1094785740\n",
    "movies.csv": (
        'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama|Romance\n'
        '11,"""Great Performances"" Café, Le (1998)",(no genres listed)\n12,Babylon 5,Sci-Fi\n'
    ).encode(),
    "tags.csv": b"userId,movieId,tag,timestamp\n7,10,funny,1112486030\n",
}
INTERACTIONS = "user_id,item_id,last_watch_dt,total_dur,watched_pct\n"
ITEMS = (
    "item_id,content_type,title,title_orig,release_year,genres,countries,for_kids,age_rating,studios,directors,actors,"
    "keywords,description\n"
)
KION: Files = {
    "interactions.csv": (
        INTERACTIONS + "176549,10,2021-05-11,4250,72.0\n699317,10,2021-05-29,8000,100.0\n656683,10,2021-05-09,10,0.0\n"
        "656683,11,2021-05-10,300,25.0\n699317,11,2021-07-05,0,30.0\n176549,11,2021-07-05,50,\n1,12,2021-08-22,9,24.9\n"
    ).encode(),
    "users.csv": (
        "user_id,age,income,sex,kids_flg\n176549,age_25_34,income_60_90,М,1\n699317,age_65_inf,income_20_40,Ж,0\n"  # noqa: RUF001
        "973171,,,,0\n"
    ).encode(),
    "items.csv": (
        ITEMS + '10,film,Поговори с ней,Hable con ella,2002.0,"драмы, зарубежные, детективы",Испания,,16.0,,'  # noqa: RUF001
        'Педро Альмодовар,"Адольфо Фернандес, Ана","Поговори, ней","Мелодрама\nв две ""строки"""\n'
        "11,series,,Search Party,2016.0,комедии,США,0.0,18.0,,,,,\n"
        "12,film,Голые перцы,Search Party,,,США,1.0,0,,,,,\n"
    ).encode(),
}
SOURCES = {"movielens-1m": ML_1M, "movielens-20m": ML_CSV, "movielens-latest-small": ML_CSV, "kion": KION}

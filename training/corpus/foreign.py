"""Sentences of other languages, by espeak-ng's language code: phones that English lacks."""

from __future__ import annotations

FOREIGN: dict[str, tuple[str, ...]] = {
    "de": (
        "Guten Morgen, wie geht es Ihnen heute?", "Über den Fluss führt eine schöne alte Brücke.",
        "Wir möchten gern zwei Brötchen und einen Kaffee.", "Das Buch liegt auf dem Küchentisch.",
        "Nein, ich habe überhaupt nichts bemerkt.", "Können Sie mir bitte helfen?",
        "Fünf müde Männer fuhren früh am Morgen nach München.", "Ja, das ist möglich.",
    ),
    "fr": (
        "Bonjour, je voudrais un peu de pain et du beurre.", "Tu as vu la lune au-dessus du mur?",
        "Un bon vin blanc pour deux euros, c'est peu.", "Mon frère habite à Paris depuis un an.",
        "Le jeune homme cherche une jupe bleue.", "Pourquoi ne viens-tu pas avec nous?",
        "Il pleut beaucoup au mois de novembre.", "Oui, bien sûr, avec plaisir.",
    ),
    "es": (
        "Buenos días, me gustaría pedir un café con leche.", "El perro corre por la playa.",
        "Mi abuela vive en un pueblo pequeño.", "Puede usted repetir la pregunta?",
        "Quince personas viajaban en el barco blanco.", "No sé, tal vez mañana por la mañana.",
    ),
    "it": (
        "Il giudice giovane mangia gli gnocchi in giardino.", "Quanto costa questa giacca azzurra?",
        "Sotto la panca la capra campa.", "Mio zio parla molto bene il francese.",
        "Uno, due, tre, quattro, cinque, sei, sette, otto.", "Non lo so, forse domani.",
        "Prego, si accomodi vicino alla finestra.", "Fa molto freddo, chiudi la porta!",
        "Buongiorno, vorrei prenotare una camera per due persone.", "Il bambino mangia una mela.",
        "Mi piace molto la musica, soprattutto il pianoforte.", "Che cosa facciamo domani sera?",
        "La pioggia batteva sui vetri della vecchia bottega.", "Sì, va bene, grazie mille.",
    ),
    "pt": (
        "Bom dia, como está a sua família?", "O menino comprou pão, bolo e uma bebida.",
        "Amanhã vamos à praia com os nossos amigos.", "Quanto custa um bilhete para o Porto?",
        "A mulher abriu a janela e viu o mar.", "Não, obrigado, prefiro água.",
    ),
    "ru": (
        "Сколько стоит эта жёлтая шапка?", "Щука плавает у самого берега.",
        "Бабушка пекла пироги с яблоками.", "Хорошо, давайте попробуем ещё раз.",
        "Фёдор увидел белую птицу высоко над полем.", "Где находится музей?",
        "Один, два, три, четыре, пять, шесть.", "Мой брат живёт в большом доме.",
        "Доброе утро, как у вас дела?", "Мама мыла раму, а папа читал большую книгу.",
        "Вы можете повторить вопрос помедленнее?", "Мы поедем в Москву поездом в пятницу.",
        "Под мостом плывёт белый пароход.", "Нет, спасибо, не сегодня.",
    ),
    "pl": (
        "Dzień dobry, poproszę bułkę i szklankę mleka.", "Chłopiec bawi się piłką przed domem.",
        "Czy mogę panu w czymś pomóc?", "W sobotę pojedziemy nad morze.",
        "Mój brat mieszka w pobliżu mostu.", "Nie, dziękuję bardzo.",
    ),
    "tr": (
        "Günaydın, bugün nasılsınız?", "Büyük köprünün üstünde üç küçük gemi gördüm.",
        "Bu otobüs ne zaman kalkıyor?", "Annem pazardan elma ve armut aldı.",
        "Biraz daha yavaş konuşabilir misiniz?", "Evet, memnun oldum.",
    ),
    "cs": (
        "Dobrý den, chtěl bych dvě piva a jeden řízek.", "Můžete mi prosím pomoci?",
        "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Vlak do Brna odjíždí v sedm hodin ráno.",
        "Babička upekla výborný jablečný koláč.", "Kolik stojí tahle modrá košile?",
        "Třicet tři stříbrných křepelek přeletělo přes střechu.", "Ne, děkuji, nic nepotřebuji.",
        "Maminka mele maso na obědový pokrm.", "Kde bydlí váš bratr?",
        "V pondělí půjdeme společně do divadla.", "Ano, to je pravda.",
        "Fialové víno voní jako ovoce.",
        "Pepa má pět bílých a pět pruhovaných ponožek.",
    ),
    "fi": (
        "Hyvää päivää, mitä kuuluu tänään?", "Öljyä löytyy yöllä kylmästä pöydästä.",
        "Minun mummoni paistaa maukasta pullaa.", "Voisitteko puhua vähän hitaammin?",
        "Bussi lähtee asemalta kello puoli viisi.", "Yksi, kaksi, kolme, neljä, viisi, kuusi.",
        "Metsässä juoksee pieni ruskea jänis.", "Ei kiitos, en halua kahvia.",
        "Poika pomppi pehmeällä patjalla.", "Missä sinun ystäväsi asuu?",
        "Huomenna menemme veneellä saareen.", "Kyllä, se on totta.",
        "Isoäiti osti vihreän villatakin.",
    ),
    "ca": (
        "Bon dia, què voleu prendre?", "El meu pare compra pa al poble petit.",
        "Demà anirem a la platja amb els amics.", "Quant val aquesta camisa blava?",
        "La pluja mullava les pedres del pont vell.", "Vuit jutges mengen peix i bebien vi bo.",
        "No, moltes gràcies, prefereixo aigua.", "On viu la teva germana?",
        "Una mica de formatge i un got de llet.", "Sí, em sembla molt bé.",
        "Els fills de la veïna juguen al jardí.",
    ),
    "hi": (
        "नमस्ते, आप कैसे हैं?", "मुझे एक कप चाय और थोड़ा पानी चाहिए।", "मेरा भाई बम्बई में रहता है।",
        "कल हम बाज़ार जाएँगे और फल खरीदेंगे।", "क्या आप मेरी मदद कर सकते हैं?",
        "बड़ा पेड़ नदी के किनारे खड़ा है।", "माँ ने मीठी खीर बनाई।", "नहीं, धन्यवाद।",
        "पाँच बच्चे मैदान में खेल रहे हैं।", "यह किताब बहुत पुरानी और सुंदर है।",
    ),
    "mr": (
        "नमस्कार, तुम्ही कसे आहात?", "माझा भाऊ पुण्यात राहतो.", "मला एक कप चहा हवा आहे.",
        "उद्या आपण बाजारात जाऊ.", "ही मुले मैदानात खेळत आहेत.", "नाही, धन्यवाद.",
        "आईने गोड पुरणपोळी बनवली.", "हे झाड खूप मोठे आहे.",
    ),
    "te": (
        "నమస్కారం, మీరు ఎలా ఉన్నారు?", "నాకు ఒక కప్పు టీ కావాలి.", "మా అమ్మ మంచి వంట చేసింది.",
        "రేపు మనం బజారుకు వెళ్దాం.", "పిల్లలు బయట ఆడుతున్నారు.", "వద్దు, ధన్యవాదాలు.",
        "ఈ పుస్తకం చాలా బాగుంది.", "మీ ఊరు ఎక్కడ ఉంది?",
    ),
    "sv": (
        "God morgon, hur mår du i dag?", "Sju sjösjuka sjömän sköttes av sköna sköterskor.",
        "Jag skulle vilja ha en kopp kaffe.", "Var ligger närmaste busshållplats?",
        "Mormor bakade bullar på måndagen.", "Nej tack, det är bra så.",
    ),
    "nl": (
        "Goedemorgen, hoe gaat het met u?", "De boer bracht vers brood en boter.",
        "Mijn vader fietst elke dag naar zijn werk.", "Kunt u dat alstublieft herhalen?",
        "De schilder schuurde de scheve deur.", "Nee, dank u, liever niet.",
    ),
    "el": (
        "Καλημέρα, τι κάνετε σήμερα;", "Θα ήθελα έναν καφέ και λίγο νερό.",
        "Ο παππούς μου μένει σε ένα μικρό χωριό.", "Πού βρίσκεται το μουσείο;",
        "Η θάλασσα ήταν ήρεμη και γαλάζια.", "Όχι, ευχαριστώ πολύ.",
    ),
    "hu": (
        "Jó reggelt, hogy van ma?", "Kérek egy pohár vizet és két zsömlét.",
        "A nagymamám finom almás süteményt sütött.", "Hol van a legközelebbi gyógyszertár?",
        "Öt ügyes gyűjtő gyöngyöt gyűjtött.", "Nem, köszönöm szépen.",
    ),
    "ko": (
        "안녕하세요, 만나서 반갑습니다.", "물 한 잔 주세요.", "우리 엄마는 빵을 구웠어요.",
        "박물관은 어디에 있습니까?", "오늘 아침에 비가 많이 왔어요.", "아니요, 괜찮아요.",
    ),
    "ar": (
        "صباح الخير، كيف حالك اليوم؟", "أريد فنجان قهوة من فضلك.",
        "يسكن أخي في بيت كبير قرب البحر.",
        "أين محطة القطار؟", "فتح الباب ودخل الرجل بهدوء.", "لا، شكرا.",
    ),
    "vi": (
        "Xin chào, bạn có khỏe không?", "Tôi muốn một cốc cà phê sữa.", "Mẹ tôi mua bánh mì ở chợ.",
        "Nhà ga ở đâu?", "Hôm nay trời mưa rất to.", "Không, cảm ơn bạn.",
    ),
}  # fmt: skip

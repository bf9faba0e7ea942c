<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
 <context>
  <name>FedSeg</name>
  <message>
   <source>Write it like https://site.hospital.example:8000 or http://127.0.0.1:8000.</source>
   <translation>Schreiben Sie sie so: https://site.hospital.example:8000 oder http://127.0.0.1:8000.</translation>
  </message>
  <message>
   <source>There is no server address.</source>
   <translation>Es ist keine Serveradresse angegeben.</translation>
  </message>
  <message>
   <source>The address must not hold a user name, password, '?' or '#'.</source>
   <translation>Die Adresse darf weder Benutzername noch Passwort, '?' oder '#' enthalten.</translation>
  </message>
  <message>
   <source>'{scheme}' is not a way to reach a site server.</source>
   <translation>'{scheme}' ist kein Weg zu einem Standort-Server.</translation>
  </message>
  <message>
   <source>'{text}' names no server.</source>
   <translation>'{text}' nennt keinen Server.</translation>
  </message>
  <message>
   <source>'{text}' has a port that is not a number from 0 to 65535.</source>
   <translation>'{text}' hat einen Port, der keine Zahl von 0 bis 65535 ist.</translation>
  </message>
  <message>
   <source>No volume is chosen.</source>
   <translation>Es ist kein Volumen gewählt.</translation>
  </message>
  <message>
   <source>Load one, then choose it here.</source>
   <translation>Laden Sie eines und wählen Sie es hier.</translation>
  </message>
  <message>
   <source>The case needs a name.</source>
   <translation>Der Fall braucht einen Namen.</translation>
  </message>
  <message>
   <source>Use letters, digits, dots and dashes.</source>
   <translation>Erlaubt sind Buchstaben, Ziffern, Punkte und Striche.</translation>
  </message>
  <message>
   <source>Sending '{name}' to the site …</source>
   <translation>'{name}' wird an den Standort gesendet …</translation>
  </message>
  <message>
   <source>Stopped.</source>
   <translation>Angehalten.</translation>
  </message>
  <message>
   <source>new</source>
   <translation>neu</translation>
  </message>
  <message>
   <source>in work</source>
   <translation>in Arbeit</translation>
  </message>
  <message>
   <source>waiting to be sent</source>
   <translation>wartet auf Versand</translation>
  </message>
  <message>
   <source>submitted</source>
   <translation>eingereicht</translation>
  </message>
  <message>
   <source>reviewed</source>
   <translation>geprüft</translation>
  </message>
  <message>
   <source>the work list</source>
   <translation>die Arbeitsliste</translation>
  </message>
  <message>
   <source>the corrections</source>
   <translation>die Korrekturen</translation>
  </message>
  <message>
   <source>the sessions</source>
   <translation>die Sitzungen</translation>
  </message>
  <message>
   <source>Submit it, or do the same again to leave it.</source>
   <translation>Reichen Sie sie ein, oder tun Sie dasselbe noch einmal, um sie zu verlassen.</translation>
  </message>
  <message>
   <source>Asking for the next case …</source>
   <translation>Der nächste Fall wird erfragt …</translation>
  </message>
  <message>
   <source>has changed since it was submitted</source>
   <translation>wurde seit dem Einreichen verändert</translation>
  </message>
  <message>
   <source>is not submitted</source>
   <translation>ist nicht eingereicht</translation>
  </message>
  <message>
   <source>No case is open.</source>
   <translation>Es ist kein Fall geöffnet.</translation>
  </message>
  <message>
   <source>Press 'Next case'.</source>
   <translation>Drücken Sie 'Nächster Fall'.</translation>
  </message>
  <message>
   <source>{model} is segmenting …</source>
   <translation>{model} segmentiert …</translation>
  </message>
  <message>
   <source>Sending the mask of '{id}' …</source>
   <translation>Die Maske von '{id}' wird gesendet …</translation>
  </message>
  <message>
   <source>Opening '{name}' …</source>
   <translation>'{name}' wird geöffnet …</translation>
  </message>
  <message>
   <source>The site has no case left to correct.</source>
   <translation>Der Standort hat keinen Fall mehr zu korrigieren.</translation>
  </message>
  <message>
   <source>There are no points and no box.</source>
   <translation>Es gibt weder Punkte noch einen Kasten.</translation>
  </message>
  <message>
   <source>Place some in a slice view first.</source>
   <translation>Setzen Sie zuerst welche in einer Schichtansicht.</translation>
  </message>
  <message>
   <source>you skipped '{id}'</source>
   <translation>Sie haben '{id}' übersprungen</translation>
  </message>
  <message>
   <source>Fetching '{id}' …</source>
   <translation>'{id}' wird geholt …</translation>
  </message>
  <message>
   <source>The mask of '{id}' {what}.</source>
   <translation>Die Maske von '{id}' {what}.</translation>
  </message>
  <message>
   <source>The server gave no sign-in token.</source>
   <translation>Der Server hat keinen Anmeldeschlüssel gegeben.</translation>
  </message>
  <message>
   <source>It may not ask for a sign-in: connect without.</source>
   <translation>Vielleicht verlangt er keine Anmeldung: verbinden Sie ohne.</translation>
  </message>
  <message>
   <source>Try again, or choose another model.</source>
   <translation>Versuchen Sie es noch einmal, oder wählen Sie ein anderes Modell.</translation>
  </message>
  <message>
   <source>Connect there.</source>
   <translation>Verbinden Sie sich dort.</translation>
  </message>
  <message>
   <source>Read what would be sent, then agree.</source>
   <translation>Lesen Sie, was gesendet würde, und stimmen Sie dann zu.</translation>
  </message>
  <message>
   <source>The server sent a file of an unknown kind ('{name}').</source>
   <translation>Der Server hat eine Datei unbekannter Art gesendet ('{name}').</translation>
  </message>
  <message>
   <source>Known kinds: {kinds}.</source>
   <translation>Bekannte Arten: {kinds}.</translation>
  </message>
  <message>
   <source>the sign-in</source>
   <translation>die Anmeldung</translation>
  </message>
  <message>
   <source>Check the address and the port.</source>
   <translation>Prüfen Sie Adresse und Port.</translation>
  </message>
  <message>
   <source>the new case</source>
   <translation>der neue Fall</translation>
  </message>
  <message>
   <source>The model '{model}' answered without a mask.</source>
   <translation>Das Modell '{model}' hat ohne Maske geantwortet.</translation>
  </message>
  <message>
   <source>The mask of '{case}' belongs to {server}.</source>
   <translation>Die Maske von '{case}' gehört zu {server}.</translation>
  </message>
  <message>
   <source>You have not agreed to send anything to {url}.</source>
   <translation>Sie haben nicht zugestimmt, etwas an {url} zu senden.</translation>
  </message>
  <message>
   <source>{url} answers, but is not a MONAI Label server.</source>
   <translation>{url} antwortet, ist aber kein MONAI-Label-Server.</translation>
  </message>
  <message>
   <source>difference</source>
   <translation>Unterschied</translation>
  </message>
  <message>
   <source>side by side</source>
   <translation>nebeneinander</translation>
  </message>
  <message>
   <source>blended</source>
   <translation>überblendet</translation>
  </message>
  <message>
   <source>Comparing {one} and {two} …</source>
   <translation>{one} und {two} werden verglichen …</translation>
  </message>
  <message>
   <source>That is the same version twice.</source>
   <translation>Das ist zweimal dieselbe Version.</translation>
  </message>
  <message>
   <source>Choose another one on one side.</source>
   <translation>Wählen Sie auf einer Seite eine andere.</translation>
  </message>
  <message>
   <source>{version} is segmenting …</source>
   <translation>{version} segmentiert …</translation>
  </message>
  <message>
   <source>The mask of {version} is the case's now.</source>
   <translation>Die Maske von {version} ist nun die des Falls.</translation>
  </message>
  <message>
   <source>Signing in …</source>
   <translation>Anmeldung läuft …</translation>
  </message>
  <message>
   <source>There is no connection.</source>
   <translation>Es besteht keine Verbindung.</translation>
  </message>
  <message>
   <source>Connect to a site first.</source>
   <translation>Verbinden Sie sich zuerst mit einem Standort.</translation>
  </message>
  <message>
   <source>Press Connect.</source>
   <translation>Drücken Sie Verbinden.</translation>
  </message>
  <message>
   <source>Reachable; the site asks you to sign in.</source>
   <translation>Erreichbar; der Standort verlangt eine Anmeldung.</translation>
  </message>
  <message>
   <source>Connecting to {url} …</source>
   <translation>Verbindung mit {url} wird aufgebaut …</translation>
  </message>
  <message>
   <source>Nothing was sent.</source>
   <translation>Es wurde nichts gesendet.</translation>
  </message>
  <message>
   <source>You can agree at any time.</source>
   <translation>Sie können jederzeit zustimmen.</translation>
  </message>
  <message>
   <source>Consent withdrawn. Nothing more is sent without asking.</source>
   <translation>Zustimmung zurückgenommen. Ohne Nachfrage wird nichts mehr gesendet.</translation>
  </message>
  <message>
   <source>A mask that cannot be delivered waits on this computer's disk until the site can be reached.</source>
   <translation>Eine Maske, die nicht zugestellt werden kann, wartet auf der Platte dieses Rechners, bis der Standort erreichbar ist.</translation>
  </message>
  <message>
   <source>Image voxels are not sent: the images come from that site.</source>
   <translation>Bildvoxel werden nicht gesendet: die Bilder kommen von diesem Standort.</translation>
  </message>
  <message>
   <source>You can withdraw this in the settings at any time.</source>
   <translation>Sie können dies jederzeit in den Einstellungen zurücknehmen.</translation>
  </message>
  <message>
   <source>Patient name, dates and other DICOM fields are not sent. Make sure that the name above and the picture itself tell nobody who the patient is.</source>
   <translation>Patientenname, Daten und andere DICOM-Felder werden nicht gesendet. Achten Sie darauf, dass weder der Name oben noch das Bild selbst verrät, wer der Patient ist.</translation>
  </message>
  <message>
   <source>The site learns from your masks. To other hospitals it gives only model weights and summary figures, never images, masks or points.</source>
   <translation>Der Standort lernt aus Ihren Masken. An andere Krankenhäuser gibt er nur Modellgewichte und Kennzahlen, nie Bilder, Masken oder Punkte.</translation>
  </message>
  <message>
   <source>This is not a FedSeg site. What that server does with your masks is up to the person who runs it.</source>
   <translation>Dies ist kein FedSeg-Standort. Was dieser Server mit Ihren Masken tut, bestimmt sein Betreiber.</translation>
  </message>
  <message>
   <source>This connection is NOT encrypted: others on the network could read along.</source>
   <translation>Diese Verbindung ist NICHT verschlüsselt: andere im Netz könnten mitlesen.</translation>
  </message>
  <message>
   <source>the site '{site}' at {url}</source>
   <translation>den Standort '{site}' unter {url}</translation>
  </message>
  <message>
   <source>The masks you submit, the points, boxes, outlines and strokes you place, and what you edit by hand between them will be sent to {who}, with the case's name there, your name if you entered one, and, unless you switch it off in the settings, the time and the number of clicks you took.</source>
   <translation>Die Masken, die Sie einreichen, die Punkte, Kästen, Umrisse und Striche, die Sie setzen, und was Sie dazwischen von Hand ändern, werden an {who} gesendet, mit dem dortigen Namen des Falls, Ihrem Namen, falls Sie einen eingetragen haben, und, wenn Sie es nicht in den Einstellungen abschalten, der gebrauchten Zeit und der Zahl der Klicks.</translation>
  </message>
  <message>
   <source>The voxels of this volume, and where they lie, will be sent to {who} and kept there among its images, under the name '{name}'.</source>
   <translation>Die Voxel dieses Volumens und ihre Lage werden an {who} gesendet und dort unter dem Namen '{name}' bei den Bildern aufbewahrt.</translation>
  </message>
  <message>
   <source>The scene was closed, and the case with it.</source>
   <translation>Die Szene wurde geschlossen, und der Fall mit ihr.</translation>
  </message>
  <message>
   <source>Press 'Next case' to go on.</source>
   <translation>Drücken Sie 'Nächster Fall', um weiterzumachen.</translation>
  </message>
  <message>
   <source>Dice per round and site</source>
   <translation>Dice je Runde und Standort</translation>
  </message>
  <message>
   <source>The server may be of another version, or not a MONAI Label server.</source>
   <translation>Der Server hat vielleicht eine andere Version oder ist kein MONAI-Label-Server.</translation>
  </message>
  <message>
   <source>a number</source>
   <translation>eine Zahl</translation>
  </message>
  <message>
   <source>a whole number</source>
   <translation>eine ganze Zahl</translation>
  </message>
  <message>
   <source>true or false</source>
   <translation>wahr oder falsch</translation>
  </message>
  <message>
   <source>a list</source>
   <translation>eine Liste</translation>
  </message>
  <message>
   <source>The reply to {what} is not a JSON object.</source>
   <translation>Die Antwort ({what}) ist kein JSON-Objekt.</translation>
  </message>
  <message>
   <source>'{key}' of {what} should be {wanted}, not {found}.</source>
   <translation>'{key}' ({what}) sollte {wanted} sein, nicht {found}.</translation>
  </message>
  <message>
   <source>'{key}' of {what}</source>
   <translation>'{key}' ({what})</translation>
  </message>
  <message>
   <source>The reply to {what} is not JSON.</source>
   <translation>Die Antwort ({what}) ist kein JSON.</translation>
  </message>
  <message>
   <source>{what} should be a JSON object, not {values}.</source>
   <translation>{what} sollte ein JSON-Objekt sein, nicht {values}.</translation>
  </message>
  <message>
   <source>The site's labels may have changed. Connect again.</source>
   <translation>Die Strukturen des Standorts haben sich vielleicht geändert. Verbinden Sie sich neu.</translation>
  </message>
  <message>
   <source>Tell the person who runs the site.</source>
   <translation>Sagen Sie es dem Betreiber des Standorts.</translation>
  </message>
  <message>
   <source>If there is nothing to mark in this case, tick 'Nothing to mark' and submit again.</source>
   <translation>Wenn in diesem Fall nichts zu markieren ist, setzen Sie den Haken bei 'In diesem Fall ist nichts zu markieren' und reichen Sie noch einmal ein.</translation>
  </message>
  <message>
   <source>The image at the site may have been replaced. Open the case again.</source>
   <translation>Das Bild am Standort wurde vielleicht ersetzt. Öffnen Sie den Fall neu.</translation>
  </message>
  <message>
   <source>In the Segment Editor set 'Modify other segments' to 'Overwrite all' and paint over them.</source>
   <translation>Stellen Sie im Segment Editor 'Modify other segments' auf 'Overwrite all' und übermalen Sie sie.</translation>
  </message>
  <message>
   <source>The mask holds {foreign}, which the site's schema ({names}) does not.</source>
   <translation>Die Maske enthält {foreign}, was das Schema des Standorts ({names}) nicht kennt.</translation>
  </message>
  <message>
   <source>The mask holds the values {unnamed}, which have no name.</source>
   <translation>Die Maske enthält die Werte {unnamed}, die keinen Namen haben.</translation>
  </message>
  <message>
   <source>No voxel is marked as {names}.</source>
   <translation>Kein Voxel ist als {names} markiert.</translation>
  </message>
  <message>
   <source>{what} has {shape} voxels; the image has {image}. Nothing was changed.</source>
   <translation>{what} hat {shape} Voxel; das Bild hat {image}. Nichts wurde geändert.</translation>
  </message>
  <message>
   <source>{what} lies {distance:.2f} voxels away from the image. Nothing was changed.</source>
   <translation>{what} liegt {distance:.2f} Voxel neben dem Bild. Nichts wurde geändert.</translation>
  </message>
  <message>
   <source>'{other}' and '{name}' share {count} voxels.</source>
   <translation>'{other}' und '{name}' teilen sich {count} Voxel.</translation>
  </message>
  <message>
   <source> or </source>
   <translation> oder </translation>
  </message>
  <message>
   <source>Starting the site on this computer …</source>
   <translation>Der Standort auf diesem Rechner wird gestartet …</translation>
  </message>
  <message>
   <source>Press 'Start'.</source>
   <translation>Drücken Sie 'Starten'.</translation>
  </message>
  <message>
   <source>The site on this computer was stopped.</source>
   <translation>Der Standort auf diesem Rechner wurde angehalten.</translation>
  </message>
  <message>
   <source>No correction started from a mask of this site yet.</source>
   <translation>Noch keine Korrektur begann mit einer Maske dieses Standorts.</translation>
  </message>
  <message>
   <source>Segment a case and submit it.</source>
   <translation>Segmentieren Sie einen Fall und reichen Sie ihn ein.</translation>
  </message>
  <message>
   <source>Dice of shown against submitted masks</source>
   <translation>Dice der gezeigten gegen die eingereichten Masken</translation>
  </message>
  <message>
   <source>{version} serves now.</source>
   <translation>{version} dient nun.</translation>
  </message>
  <message>
   <source>{version} serves no longer.</source>
   <translation>{version} dient nicht mehr.</translation>
  </message>
  <message>
   <source>The image at the site has another size.</source>
   <translation>Das Bild am Standort hat eine andere Größe.</translation>
  </message>
  <message>
   <source>Open the case again.</source>
   <translation>Öffnen Sie den Fall neu.</translation>
  </message>
  <message>
   <source>Nothing was drawn.</source>
   <translation>Es wurde nichts gezeichnet.</translation>
  </message>
  <message>
   <source>The outline encloses nothing of the image.</source>
   <translation>Der Umriss umschließt nichts vom Bild.</translation>
  </message>
  <message>
   <source>Click at least three points around it.</source>
   <translation>Klicken Sie mindestens drei Punkte darum.</translation>
  </message>
  <message>
   <source>The outline encloses no voxel.</source>
   <translation>Der Umriss umschließt kein Voxel.</translation>
  </message>
  <message>
   <source>Draw it larger, over the image.</source>
   <translation>Zeichnen Sie ihn größer, über dem Bild.</translation>
  </message>
  <message>
   <source>Prompt another slice and try again.</source>
   <translation>Markieren Sie eine andere Schicht und versuchen Sie es noch einmal.</translation>
  </message>
  <message>
   <source>Stopping …</source>
   <translation>Wird angehalten …</translation>
  </message>
  <message>
   <source>Propagating '{label}' …</source>
   <translation>'{label}' wird fortgesetzt …</translation>
  </message>
  <message>
   <source> · at slice {at}</source>
   <translation> · bei Schicht {at}</translation>
  </message>
  <message>
   <source>Propagating '{label}': {done} slices found{at}</source>
   <translation>'{label}' wird fortgesetzt: {done} Schichten gefunden{at}</translation>
  </message>
  <message>
   <source>Propagation failed: {message}</source>
   <translation>Das Fortsetzen ist fehlgeschlagen: {message}</translation>
  </message>
  <message>
   <source>The site may be of another version. Connect again.</source>
   <translation>Der Standort hat vielleicht eine andere Version. Verbinden Sie sich neu.</translation>
  </message>
  <message>
   <source>the session</source>
   <translation>die Sitzung</translation>
  </message>
  <message>
   <source>the changed box</source>
   <translation>der geänderte Kasten</translation>
  </message>
  <message>
   <source>the propagation</source>
   <translation>das Fortsetzen</translation>
  </message>
  <message>
   <source>The site's answer to a prompt is not a changed box.</source>
   <translation>Die Antwort des Standorts auf eine Markierung ist kein geänderter Kasten.</translation>
  </message>
  <message>
   <source>Try again.</source>
   <translation>Versuchen Sie es noch einmal.</translation>
  </message>
  <message>
   <source>the session's shape</source>
   <translation>die Form der Sitzung</translation>
  </message>
  <message>
   <source>The header of the changed box is not JSON.</source>
   <translation>Der Kopf des geänderten Kastens ist kein JSON.</translation>
  </message>
  <message>
   <source>The voxels of the changed box cannot be unpacked.</source>
   <translation>Die Voxel des geänderten Kastens lassen sich nicht auspacken.</translation>
  </message>
  <message>
   <source>The propagation is in an unknown state, '{state}'.</source>
   <translation>Das Fortsetzen ist in einem unbekannten Zustand, '{state}'.</translation>
  </message>
  <message>
   <source>{what} should be three whole numbers, not {values!r:.40}.</source>
   <translation>{what} sollte drei ganze Zahlen sein, nicht {values!r:.40}.</translation>
  </message>
  <message>
   <source>The changed box {numbers} is none.</source>
   <translation>Der geänderte Kasten {numbers} ist keiner.</translation>
  </message>
  <message>
   <source>The changed box holds {raw} voxels instead of {size}.</source>
   <translation>Der geänderte Kasten enthält {raw} Voxel statt {size}.</translation>
  </message>
  <message>
   <source>The site did not answer.</source>
   <translation>Der Standort hat nicht geantwortet.</translation>
  </message>
  <message>
   <source>To install the site, type in a terminal 'python3 -m venv fedseg-site' and then 'fedseg-site/bin/pip install FOLDER' (on Windows 'py -m venv fedseg-site' and then 'fedseg-site\Scripts\pip install FOLDER'). FOLDER is SlicerFedSeg's repository: the folder with the file pyproject.toml. Then choose the Python beside that pip.</source>
   <translation>Um den Standort zu installieren, geben Sie in einem Terminal 'python3 -m venv fedseg-site' ein und danach 'fedseg-site/bin/pip install ORDNER' (unter Windows 'py -m venv fedseg-site' und danach 'fedseg-site\Scripts\pip install ORDNER'). ORDNER ist das Repository von SlicerFedSeg: der Ordner mit der Datei pyproject.toml. Wählen Sie dann das Python neben diesem pip.</translation>
  </message>
  <message>
   <source>it said nothing.</source>
   <translation>es hat nichts gesagt.</translation>
  </message>
  <message>
   <source>Ready: Python {number} with the site.</source>
   <translation>Bereit: Python {number} mit dem Standort.</translation>
  </message>
  <message>
   <source>Is this computer very busy?</source>
   <translation>Ist dieser Rechner sehr beschäftigt?</translation>
  </message>
  <message>
   <source>There is no Python interpreter chosen.</source>
   <translation>Es ist kein Python-Interpreter gewählt.</translation>
  </message>
  <message>
   <source>There is no image folder chosen.</source>
   <translation>Es ist kein Bilderordner gewählt.</translation>
  </message>
  <message>
   <source>Choose the folder that holds the images.</source>
   <translation>Wählen Sie den Ordner mit den Bildern.</translation>
  </message>
  <message>
   <source>The image folder is empty.</source>
   <translation>Der Bilderordner ist leer.</translation>
  </message>
  <message>
   <source>Put NIfTI, NRRD or picture files into it.</source>
   <translation>Legen Sie NIfTI-, NRRD- oder Bilddateien hinein.</translation>
  </message>
  <message>
   <source>Write them like: tumour=1, edema=2</source>
   <translation>Schreiben Sie sie so: tumour=1, edema=2</translation>
  </message>
  <message>
   <source>That file is not a Python interpreter that runs.</source>
   <translation>Diese Datei ist kein lauffähiger Python-Interpreter.</translation>
  </message>
  <message>
   <source>That Python ({number}) has no {parts}.</source>
   <translation>Dieses Python ({number}) hat kein {parts}.</translation>
  </message>
  <message>
   <source>Correct that and start it again.</source>
   <translation>Beheben Sie das und starten Sie neu.</translation>
  </message>
  <message>
   <source>The site did not serve within {seconds:g} s.</source>
   <translation>Der Standort hat nicht innerhalb von {seconds:g} s geantwortet.</translation>
  </message>
  <message>
   <source>Choose one that has the site. {how}</source>
   <translation>Wählen Sie einen, der den Standort hat. {how}</translation>
  </message>
  <message>
   <source>'{labels}' names no structures.</source>
   <translation>'{labels}' nennt keine Strukturen.</translation>
  </message>
  <message>
   <source> and no </source>
   <translation> und kein </translation>
  </message>
  <message>
   <source>The site did not start: {log}</source>
   <translation>Der Standort ist nicht gestartet: {log}</translation>
  </message>
  <message>
   <source>The connection may have broken off. Try again.</source>
   <translation>Die Verbindung ist vielleicht abgebrochen. Versuchen Sie es noch einmal.</translation>
  </message>
  <message>
   <source>A part of the server's reply has no end of its header.</source>
   <translation>Ein Teil der Antwort des Servers hat kein Ende seines Kopfes.</translation>
  </message>
  <message>
   <source>A part of the server's reply has no name.</source>
   <translation>Ein Teil der Antwort des Servers hat keinen Namen.</translation>
  </message>
  <message>
   <source>The server answered with '{content_type}' instead of parts.</source>
   <translation>Der Server hat mit '{content_type}' statt mit Teilen geantwortet.</translation>
  </message>
  <message>
   <source>The server's reply was cut short after {body} bytes.</source>
   <translation>Die Antwort des Servers brach nach {body} Bytes ab.</translation>
  </message>
  <message>
   <source>The server's reply has {chunks} parts; {most} are the most expected.</source>
   <translation>Die Antwort des Servers hat {chunks} Teile; erwartet werden höchstens {most}.</translation>
  </message>
  <message>
   <source>no content type</source>
   <translation>keine Angabe der Art</translation>
  </message>
  <message>
   <source>Is the disk full? Nothing was sent.</source>
   <translation>Ist die Platte voll? Es wurde nichts gesendet.</translation>
  </message>
  <message>
   <source>The mask cannot be kept on this computer: {strerror}.</source>
   <translation>Die Maske kann auf diesem Rechner nicht aufbewahrt werden: {strerror}.</translation>
  </message>
  <message>
   <source>{text} serves again.</source>
   <translation>{text} dient wieder.</translation>
  </message>
  <message>
   <source>the promotion</source>
   <translation>die Beförderung</translation>
  </message>
  <message>
   <source>You cannot {action} now. {reason}</source>
   <translation>Sie können jetzt nicht {action}. {reason}</translation>
  </message>
  <message>
   <source>Images, masks, points, and names of cases or persons do not leave the site. Numbers of a model can still carry traces of the cases it learned from.</source>
   <translation>Bilder, Masken, Punkte und Namen von Fällen oder Personen verlassen den Standort nicht. Zahlen eines Modells können dennoch Spuren der Fälle tragen, aus denen es gelernt hat.</translation>
  </message>
  <message>
   <source>You can take this back at any time. What was sent until then stays with the federation.</source>
   <translation>Sie können dies jederzeit zurücknehmen. Was bis dahin gesendet wurde, bleibt bei der Föderation.</translation>
  </message>
  <message>
   <source>{up:.1f} MB a round; {down:.1f} MB back</source>
   <translation>{up:.1f} MB je Runde; {down:.1f} MB zurück</translation>
  </message>
  <message>
   <source>{numbers:,} numbers of '{model}' that were trained here ({size})</source>
   <translation>{numbers:,} Zahlen von '{model}', die hier trainiert wurden ({size})</translation>
  </message>
  <message>
   <source>Method: {methods}, {rounds} unless told otherwise.</source>
   <translation>Verfahren: {methods}, {rounds}, wenn nichts anderes gesagt wird.</translation>
  </message>
  <message>
   <source>Fingerprint: {hash}…</source>
   <translation>Fingerabdruck: {hash}…</translation>
  </message>
  <message>
   <source>Agree to plan '{name}' for the site '{site}'? Its courier will then take part in federated rounds.</source>
   <translation>Dem Plan '{name}' für den Standort '{site}' zustimmen? Sein Kurier nimmt dann an föderierten Runden teil.</translation>
  </message>
  <message>
   <source>To the hub goes, in every round: {traffic}; how many cases it learned from, how long that took, and the mean Dice on its own validation cases. The hub mixes what all sites sent and returns it; the site's own gate decides whether to use it.</source>
   <translation>In jeder Runde gehen an die Zentrale: {traffic}; aus wie vielen Fällen gelernt wurde, wie lange es dauerte, und der mittlere Dice auf den eigenen Prüffällen. Die Zentrale mischt, was alle Standorte gesendet haben, und gibt es zurück; ob es verwendet wird, entscheidet die eigene Prüfung des Standorts.</translation>
  </message>
  <message>
   <source>Fingerprint of the plan: {hash}…</source>
   <translation>Fingerabdruck des Plans: {hash}…</translation>
  </message>
  <message>
   <source>the numbers of '{model}' that were trained here</source>
   <translation>die Zahlen von '{model}', die hier trainiert wurden</translation>
  </message>
  <message>
   <source>Model: {model}, for {labels}; {steps} training steps a round.</source>
   <translation>Modell: {model}, für {labels}; {steps} Trainingsschritte je Runde.</translation>
  </message>
  <message>
   <source>Sent to the hub: {traffic}.</source>
   <translation>An die Zentrale gesendet: {traffic}.</translation>
  </message>
  <message>
   <source>A round counts with at least {quorum} site(s).</source>
   <translation>Eine Runde zählt mit mindestens {quorum} Standort(en).</translation>
  </message>
  <message>
   <source>Rounds may be started by {sites}.</source>
   <translation>Runden dürfen gestartet werden von: {sites}.</translation>
  </message>
  <message>
   <source> by {who}</source>
   <translation> von {who}</translation>
  </message>
  <message>
   <source> on {day}</source>
   <translation> am {day}</translation>
  </message>
  <message>
   <source>Agreed to{by}{day}.</source>
   <translation>Zugestimmt{by}{day}.</translation>
  </message>
  <message>
   <source>The hub mixes updates so that a few hostile ones do little harm ({robust}).</source>
   <translation>Die Zentrale mischt so, dass wenige feindliche Beiträge kaum schaden ({robust}).</translation>
  </message>
  <message>
   <source>every site</source>
   <translation>jedem Standort</translation>
  </message>
  <message>
   <source>the plan</source>
   <translation>der Plan</translation>
  </message>
  <message>
   <source>It is sent as soon as the site can be reached again, even after a restart. You can go on.</source>
   <translation>Sie wird gesendet, sobald der Standort wieder erreichbar ist, auch nach einem Neustart. Sie können weitermachen.</translation>
  </message>
  <message>
   <source>{error} The mask of '{case}' is kept on this computer.</source>
   <translation>{error} Die Maske von '{case}' bleibt auf diesem Rechner.</translation>
  </message>
  <message>
   <source>The mask of '{case}' that waited here has arrived.</source>
   <translation>Die Maske von '{case}', die hier wartete, ist angekommen.</translation>
  </message>
  <message>
   <source>the learning</source>
   <translation>das Lernen</translation>
  </message>
  <message>
   <source>the federation</source>
   <translation>die Föderation</translation>
  </message>
  <message>
   <source>the federated round</source>
   <translation>die föderierte Runde</translation>
  </message>
  <message>
   <source>the new round</source>
   <translation>die neue Runde</translation>
  </message>
  <message>
   <source>the server's description</source>
   <translation>die Beschreibung des Servers</translation>
  </message>
  <message>
   <source>the site's labels</source>
   <translation>die Strukturen des Standorts</translation>
  </message>
  <message>
   <source>the next case</source>
   <translation>der nächste Fall</translation>
  </message>
  <message>
   <source>the segmentation</source>
   <translation>die Segmentierung</translation>
  </message>
  <message>
   <source>the receipt</source>
   <translation>die Quittung</translation>
  </message>
  <message>
   <source>That server is not a MONAI Label server.</source>
   <translation>Dieser Server ist kein MONAI-Label-Server.</translation>
  </message>
  <message>
   <source>the colours</source>
   <translation>die Farben</translation>
  </message>
  <message>
   <source>the codes</source>
   <translation>die Kodes</translation>
  </message>
  <message>
   <source>the site's models</source>
   <translation>die Modelle des Standorts</translation>
  </message>
  <message>
   <source>the submitted mask</source>
   <translation>die eingereichte Maske</translation>
  </message>
  <message>
   <source>'part' of the receipt should be train, validation or holdout, not '{part}'.</source>
   <translation>'part' der Quittung sollte train, validation oder holdout sein, nicht '{part}'.</translation>
  </message>
  <message>
   <source>The site's labels repeat a name or a value: {values}.</source>
   <translation>Die Strukturen des Standorts wiederholen einen Namen oder einen Wert: {values}.</translation>
  </message>
  <message>
   <source>The site's label values must lie in 1..65535, not {values}.</source>
   <translation>Die Werte der Strukturen müssen in 1..65535 liegen, nicht {values}.</translation>
  </message>
  <message>
   <source>The point</source>
   <translation>Der Punkt</translation>
  </message>
  <message>
   <source>The case's box</source>
   <translation>Der Kasten des Falls</translation>
  </message>
  <message>
   <source>The case's scribbles</source>
   <translation>Die Striche des Falls</translation>
  </message>
  <message>
   <source>The site's answer lies outside the image.</source>
   <translation>Die Antwort des Standorts liegt außerhalb des Bildes.</translation>
  </message>
  <message>
   <source>The case's points</source>
   <translation>Die Punkte des Falls</translation>
  </message>
  <message>
   <source>The volume</source>
   <translation>Das Volumen</translation>
  </message>
  <message>
   <source>The site's mask</source>
   <translation>Die Maske des Standorts</translation>
  </message>
  <message>
   <source>The image and its segmentation lie under different transforms.</source>
   <translation>Das Bild und seine Segmentierung liegen unter verschiedenen Transformationen.</translation>
  </message>
  <message>
   <source>In the Transforms module, put the segmentation under its image's transform, and check the mask.</source>
   <translation>Legen Sie im Modul Transforms die Segmentierung unter die Transformation ihres Bildes, und prüfen Sie die Maske.</translation>
  </message>
  <message>
   <source>Round</source>
   <translation>Runde</translation>
  </message>
  <message>
   <source>Correction</source>
   <translation>Korrektur</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>The image of '{name}'</source>
   <translation>Das Bild von '{name}'</translation>
  </message>
  <message>
   <source>The segmentation of '{name}'</source>
   <translation>Die Segmentierung von '{name}'</translation>
  </message>
  <message>
   <source>other structure</source>
   <translation>andere Struktur</translation>
  </message>
  <message>
   <source>only {name}</source>
   <translation>nur {name}</translation>
  </message>
  <message>
   <source>Click inside the image.</source>
   <translation>Klicken Sie in das Bild.</translation>
  </message>
  <message>
   <source>The box lies outside the image.</source>
   <translation>Der Kasten liegt außerhalb des Bildes.</translation>
  </message>
  <message>
   <source>Draw it again, over the image.</source>
   <translation>Zeichnen Sie ihn neu, über dem Bild.</translation>
  </message>
  <message>
   <source>Delete it or move it inside.</source>
   <translation>Löschen Sie ihn oder schieben Sie ihn hinein.</translation>
  </message>
  <message>
   <source>{what} lies outside the image.</source>
   <translation>{what} liegt außerhalb des Bildes.</translation>
  </message>
  <message>
   <source>Point {position} of '{name}' lies outside the image.</source>
   <translation>Punkt {position} von '{name}' liegt außerhalb des Bildes.</translation>
  </message>
  <message>
   <source>Merge them, or rename or delete one.</source>
   <translation>Vereinigen Sie sie, oder benennen Sie eines um, oder löschen Sie es.</translation>
  </message>
  <message>
   <source>Rename it to one of these, or delete it.</source>
   <translation>Benennen Sie es in eine von diesen um, oder löschen Sie es.</translation>
  </message>
  <message>
   <source>Two segments are named '{name}'.</source>
   <translation>Zwei Segmente heißen '{name}'.</translation>
  </message>
  <message>
   <source>The segment '{name}' is not a structure of this site ({names}).</source>
   <translation>Das Segment '{name}' ist keine Struktur dieses Standorts ({names}).</translation>
  </message>
  <message>
   <source>Slicer's log says why. Tell the person who runs the site.</source>
   <translation>Slicers Protokoll sagt, warum. Sagen Sie es dem Betreiber des Standorts.</translation>
  </message>
  <message>
   <source>The site's mask cannot be read.</source>
   <translation>Die Maske des Standorts lässt sich nicht lesen.</translation>
  </message>
  <message>
   <source>Choose another model.</source>
   <translation>Wählen Sie ein anderes Modell.</translation>
  </message>
  <message>
   <source>The site's mask holds fractions instead of label values.</source>
   <translation>Die Maske des Standorts enthält Brüche statt Strukturwerte.</translation>
  </message>
  <message>
   <source>Choose another volume.</source>
   <translation>Wählen Sie ein anderes Volumen.</translation>
  </message>
  <message>
   <source>The volume could not be written for sending.</source>
   <translation>Das Volumen konnte nicht zum Senden geschrieben werden.</translation>
  </message>
  <message>
   <source>Is the disk of this computer full?</source>
   <translation>Ist die Platte dieses Rechners voll?</translation>
  </message>
  <message>
   <source>The image of '{name}' is empty.</source>
   <translation>Das Bild von '{name}' ist leer.</translation>
  </message>
  <message>
   <source>Slicer cannot read the image of '{name}' ({kind}) as a volume.</source>
   <translation>Slicer kann das Bild von '{name}' ({kind}) nicht als Volumen lesen.</translation>
  </message>
  <message>
   <source>{what} left the scene.</source>
   <translation>{what} ist nicht mehr in der Szene.</translation>
  </message>
  <message>
   <source>The site's mask has {ndim} dimensions instead of 3.</source>
   <translation>Die Maske des Standorts hat {ndim} Dimensionen statt 3.</translation>
  </message>
  <message>
   <source>The volume '{name}' holds no voxels.</source>
   <translation>Das Volumen '{name}' enthält keine Voxel.</translation>
  </message>
  <message>
   <source>not connected</source>
   <translation>nicht verbunden</translation>
  </message>
  <message>
   <source>connecting</source>
   <translation>Verbindung wird aufgebaut</translation>
  </message>
  <message>
   <source>sign-in needed</source>
   <translation>Anmeldung nötig</translation>
  </message>
  <message>
   <source>connected, no case open</source>
   <translation>verbunden, kein Fall geöffnet</translation>
  </message>
  <message>
   <source>fetching a case</source>
   <translation>ein Fall wird geholt</translation>
  </message>
  <message>
   <source>case open</source>
   <translation>Fall geöffnet</translation>
  </message>
  <message>
   <source>segmenting</source>
   <translation>es wird segmentiert</translation>
  </message>
  <message>
   <source>submitting</source>
   <translation>es wird eingereicht</translation>
  </message>
  <message>
   <source>connect</source>
   <translation>verbinden</translation>
  </message>
  <message>
   <source>disconnect</source>
   <translation>trennen</translation>
  </message>
  <message>
   <source>sign in</source>
   <translation>sich anmelden</translation>
  </message>
  <message>
   <source>open a case</source>
   <translation>einen Fall öffnen</translation>
  </message>
  <message>
   <source>skip this case</source>
   <translation>diesen Fall überspringen</translation>
  </message>
  <message>
   <source>segment</source>
   <translation>segmentieren</translation>
  </message>
  <message>
   <source>use points and a box</source>
   <translation>Punkte und einen Kasten verwenden</translation>
  </message>
  <message>
   <source>undo</source>
   <translation>zurücknehmen</translation>
  </message>
  <message>
   <source>redo</source>
   <translation>wiederholen</translation>
  </message>
  <message>
   <source>propagate</source>
   <translation>fortsetzen</translation>
  </message>
  <message>
   <source>compare versions</source>
   <translation>Versionen vergleichen</translation>
  </message>
  <message>
   <source>submit</source>
   <translation>einreichen</translation>
  </message>
  <message>
   <source>start learning</source>
   <translation>das Lernen starten</translation>
  </message>
  <message>
   <source>stop learning</source>
   <translation>das Lernen anhalten</translation>
  </message>
  <message>
   <source>change which version serves</source>
   <translation>ändern, welche Version dient</translation>
  </message>
  <message>
   <source>pause this site</source>
   <translation>diesen Standort pausieren</translation>
  </message>
  <message>
   <source>agree to the plan</source>
   <translation>dem Plan zustimmen</translation>
  </message>
  <message>
   <source>leave the federation</source>
   <translation>die Föderation verlassen</translation>
  </message>
  <message>
   <source>start a round</source>
   <translation>eine Runde starten</translation>
  </message>
  <message>
   <source>stop a round</source>
   <translation>eine Runde anhalten</translation>
  </message>
  <message>
   <source>stop what runs</source>
   <translation>anhalten, was läuft</translation>
  </message>
  <message>
   <source>Your work is still in the scene. Please report this with Slicer's log.</source>
   <translation>Ihre Arbeit ist noch in der Szene. Bitte melden Sie dies mit Slicers Protokoll.</translation>
  </message>
  <message>
   <source>Answer the question about sending first.</source>
   <translation>Beantworten Sie zuerst die Frage zum Senden.</translation>
  </message>
  <message>
   <source>Wait until the model has answered.</source>
   <translation>Warten Sie, bis das Modell geantwortet hat.</translation>
  </message>
  <message>
   <source>Your role 'viewer' may look, not submit.</source>
   <translation>Ihre Rolle 'viewer' darf ansehen, nicht einreichen.</translation>
  </message>
  <message>
   <source>Open a case first.</source>
   <translation>Öffnen Sie zuerst einen Fall.</translation>
  </message>
  <message>
   <source>This is a stock MONAI Label server: it has no learning or federation of FedSeg's kind.</source>
   <translation>Dies ist ein gewöhnlicher MONAI-Label-Server: Lernen und Föderation wie bei FedSeg hat er nicht.</translation>
  </message>
  <message>
   <source>Already asked; waiting for the answer.</source>
   <translation>Schon gefragt; die Antwort steht aus.</translation>
  </message>
  <message>
   <source>Your role 'viewer' may look, not start or stop.</source>
   <translation>Ihre Rolle 'viewer' darf ansehen, nicht starten oder anhalten.</translation>
  </message>
  <message>
   <source>This site belongs to no federation.</source>
   <translation>Dieser Standort gehört zu keiner Föderation.</translation>
  </message>
  <message>
   <source>Your role 'annotator' may not start or stop rounds: ask a reviewer.</source>
   <translation>Ihre Rolle 'annotator' darf Runden weder starten noch anhalten: fragen Sie einen Prüfer.</translation>
  </message>
  <message>
   <source>No round is running.</source>
   <translation>Es läuft keine Runde.</translation>
  </message>
  <message>
   <source>Nobody at this site has agreed to the plan: ask an administrator.</source>
   <translation>Niemand an diesem Standort hat dem Plan zugestimmt: fragen Sie einen Administrator.</translation>
  </message>
  <message>
   <source>This site is paused.</source>
   <translation>Dieser Standort pausiert.</translation>
  </message>
  <message>
   <source>This server offers no model.</source>
   <translation>Dieser Server bietet kein Modell an.</translation>
  </message>
  <message>
   <source>A stock MONAI Label server has no versions.</source>
   <translation>Ein gewöhnlicher MONAI-Label-Server hat keine Versionen.</translation>
  </message>
  <message>
   <source>There is nothing to undo.</source>
   <translation>Es gibt nichts zurückzunehmen.</translation>
  </message>
  <message>
   <source>There is nothing to do again.</source>
   <translation>Es gibt nichts zu wiederholen.</translation>
  </message>
  <message>
   <source>A stock MONAI Label server cannot propagate.</source>
   <translation>Ein gewöhnlicher MONAI-Label-Server kann nicht fortsetzen.</translation>
  </message>
  <message>
   <source>A propagation is running.</source>
   <translation>Ein Fortsetzen läuft schon.</translation>
  </message>
  <message>
   <source>Prompt a slice first.</source>
   <translation>Markieren Sie zuerst eine Schicht.</translation>
  </message>
  <message>
   <source>Not possible now: {phase}.</source>
   <translation>Jetzt nicht möglich: {phase}.</translation>
  </message>
  <message>
   <source>Learning is running.</source>
   <translation>Das Lernen läuft.</translation>
  </message>
  <message>
   <source>No learning is running.</source>
   <translation>Es läuft kein Lernen.</translation>
  </message>
  <message>
   <source>A round is running.</source>
   <translation>Eine Runde läuft.</translation>
  </message>
  <message>
   <source>An error inside FedSeg: {name}: {error}</source>
   <translation>Ein Fehler in FedSeg: {name}: {error}</translation>
  </message>
  <message>
   <source>The model '{model}' segments by itself; it does not understand points or a box.</source>
   <translation>Das Modell '{model}' segmentiert von selbst; Punkte oder einen Kasten versteht es nicht.</translation>
  </message>
  <message>
   <source>Wait until this is done: {text}</source>
   <translation>Warten Sie, bis dies fertig ist: {text}</translation>
  </message>
  <message>
   <source>There is no way from '{here}' to '{there}'.</source>
   <translation>Es führt kein Weg von '{here}' nach '{there}'.</translation>
  </message>
  <message>
   <source>The model '{model}' needs points.</source>
   <translation>Das Modell '{model}' braucht Punkte.</translation>
  </message>
  <message>
   <source>There is only one version of '{model}' so far.</source>
   <translation>Von '{model}' gibt es bisher nur eine Version.</translation>
  </message>
  <message>
   <source>Your role '{role}' may not: ask a reviewer.</source>
   <translation>Ihre Rolle '{role}' darf das nicht: fragen Sie einen Prüfer.</translation>
  </message>
  <message>
   <source>Your role '{role}' may not: ask an administrator.</source>
   <translation>Ihre Rolle '{role}' darf das nicht: fragen Sie einen Administrator.</translation>
  </message>
  <message>
   <source>its certificate cannot be verified</source>
   <translation>sein Zertifikat lässt sich nicht prüfen</translation>
  </message>
  <message>
   <source>The site asks you to sign in.</source>
   <translation>Der Standort verlangt eine Anmeldung.</translation>
  </message>
  <message>
   <source>Your role does not allow this.</source>
   <translation>Ihre Rolle erlaubt das nicht.</translation>
  </message>
  <message>
   <source>The site does not know that.</source>
   <translation>Der Standort kennt das nicht.</translation>
  </message>
  <message>
   <source>The site finds the upload too large.</source>
   <translation>Dem Standort ist die Sendung zu groß.</translation>
  </message>
  <message>
   <source>The site is busy.</source>
   <translation>Der Standort ist beschäftigt.</translation>
  </message>
  <message>
   <source>Enter your user name and password.</source>
   <translation>Geben Sie Benutzername und Passwort ein.</translation>
  </message>
  <message>
   <source>Ask the person who runs the site for the right.</source>
   <translation>Bitten Sie den Betreiber des Standorts um das Recht.</translation>
  </message>
  <message>
   <source>Try again; if it stays, tell the person who runs the site.</source>
   <translation>Versuchen Sie es noch einmal; wenn es bleibt, sagen Sie es dem Betreiber des Standorts.</translation>
  </message>
  <message>
   <source>If your hospital has its own certificate authority, choose its CA file in the settings.</source>
   <translation>Wenn Ihr Krankenhaus eine eigene Zertifizierungsstelle hat, wählen Sie deren Datei in den Einstellungen.</translation>
  </message>
  <message>
   <source>Check the address and the port, and that the site server runs.</source>
   <translation>Prüfen Sie Adresse und Port, und ob der Standort-Server läuft.</translation>
  </message>
  <message>
   <source>another address</source>
   <translation>eine andere Adresse</translation>
  </message>
  <message>
   <source>Use that address if you trust it.</source>
   <translation>Verwenden Sie diese Adresse, wenn Sie ihr trauen.</translation>
  </message>
  <message>
   <source>The server may be meant to be reached with http://.</source>
   <translation>Vielleicht ist der Server mit http:// zu erreichen.</translation>
  </message>
  <message>
   <source>its certificate is signed by itself</source>
   <translation>sein Zertifikat ist von ihm selbst unterschrieben</translation>
  </message>
  <message>
   <source>its certificate is for another name</source>
   <translation>sein Zertifikat ist für einen anderen Namen</translation>
  </message>
  <message>
   <source>its certificate has expired</source>
   <translation>sein Zertifikat ist abgelaufen</translation>
  </message>
  <message>
   <source>its certificate comes from an authority this computer does not know</source>
   <translation>sein Zertifikat kommt von einer Stelle, die dieser Rechner nicht kennt</translation>
  </message>
  <message>
   <source>Is the address right? A firewall?</source>
   <translation>Stimmt die Adresse? Eine Firewall?</translation>
  </message>
  <message>
   <source>The site may be busy. Try again in a while.</source>
   <translation>Der Standort ist vielleicht beschäftigt. Versuchen Sie es in einer Weile noch einmal.</translation>
  </message>
  <message>
   <source>Check the address.</source>
   <translation>Prüfen Sie die Adresse.</translation>
  </message>
  <message>
   <source>The CA file cannot be read.</source>
   <translation>Die CA-Datei lässt sich nicht lesen.</translation>
  </message>
  <message>
   <source>Choose another file in the settings, or none.</source>
   <translation>Wählen Sie in den Einstellungen eine andere Datei oder keine.</translation>
  </message>
  <message>
   <source>The server answered with an error (status {status}).</source>
   <translation>Der Server hat mit einem Fehler geantwortet (Status {status}).</translation>
  </message>
  <message>
   <source>{where} could not prove who it is: {why}. Nothing was sent.</source>
   <translation>{where} konnte nicht beweisen, wer er ist: {why}. Es wurde nichts gesendet.</translation>
  </message>
  <message>
   <source>Nothing answers at {where}.</source>
   <translation>Unter {where} antwortet nichts.</translation>
  </message>
  <message>
   <source>The reply has {total} bytes; {limit} are the most accepted.</source>
   <translation>Die Antwort hat {total} Bytes; angenommen werden höchstens {limit}.</translation>
  </message>
  <message>
   <source>The reply was cut short: {count} of {total} bytes.</source>
   <translation>Die Antwort brach ab: {count} von {total} Bytes.</translation>
  </message>
  <message>
   <source>The server points to {target}.</source>
   <translation>Der Server verweist auf {target}.</translation>
  </message>
  <message>
   <source>{where} does not speak TLS.</source>
   <translation>{where} spricht kein TLS.</translation>
  </message>
  <message>
   <source>{where} did not answer within {seconds:g} s.</source>
   <translation>{where} hat nicht innerhalb von {seconds:g} s geantwortet.</translation>
  </message>
  <message>
   <source>{where} stayed silent for {wait:g} s.</source>
   <translation>{where} blieb {wait:g} s lang stumm.</translation>
  </message>
  <message>
   <source>{where} cannot be used as an address.</source>
   <translation>{where} lässt sich nicht als Adresse verwenden.</translation>
  </message>
  <message>
   <source>The connection to {where} broke off within the reply.</source>
   <translation>Die Verbindung zu {where} brach mitten in der Antwort ab.</translation>
  </message>
  <message>
   <source>The reply is longer than {limit} bytes, the most accepted.</source>
   <translation>Die Antwort ist länger als {limit} Bytes; mehr wird nicht angenommen.</translation>
  </message>
  <message>
   <source>the statistics</source>
   <translation>die Kennzahlen</translation>
  </message>
  <message>
   <source>the versions</source>
   <translation>die Versionen</translation>
  </message>
  <message>
   <source>The site will learn from it.</source>
   <translation>Der Standort wird daraus lernen.</translation>
  </message>
  <message>
   <source>The site judges new versions by it.</source>
   <translation>Der Standort beurteilt damit neue Versionen.</translation>
  </message>
  <message>
   <source>The site keeps it aside for the final test.</source>
   <translation>Der Standort hebt ihn für die letzte Prüfung auf.</translation>
  </message>
  <message>
   <source>Nothing learned yet.</source>
   <translation>Noch nichts gelernt.</translation>
  </message>
  <message>
   <source>Waiting for the learner.</source>
   <translation>Wartet auf den Lerner.</translation>
  </message>
  <message>
   <source>Training on your corrections.</source>
   <translation>Training mit Ihren Korrekturen.</translation>
  </message>
  <message>
   <source>Comparing the new version with the one that serves.</source>
   <translation>Die neue Version wird mit der dienenden verglichen.</translation>
  </message>
  <message>
   <source>Learning failed.</source>
   <translation>Das Lernen ist fehlgeschlagen.</translation>
  </message>
  <message>
   <source>Learning was stopped.</source>
   <translation>Das Lernen wurde angehalten.</translation>
  </message>
  <message>
   <source>Asked the hub; waiting for it.</source>
   <translation>Die Zentrale ist gefragt; ihre Antwort steht aus.</translation>
  </message>
  <message>
   <source>Finished.</source>
   <translation>Beendet.</translation>
  </message>
  <message>
   <source>Failed.</source>
   <translation>Fehlgeschlagen.</translation>
  </message>
  <message>
   <source>The site asks who you are.</source>
   <translation>Der Standort fragt, wer Sie sind.</translation>
  </message>
  <message>
   <source>a few seconds</source>
   <translation>wenige Sekunden</translation>
  </message>
  <message>
   <source>1 round</source>
   <translation>1 Runde</translation>
  </message>
  <message>
   <source> You can segment and submit; learning and federation are not there.</source>
   <translation> Sie können segmentieren und einreichen; Lernen und Föderation gibt es dort nicht.</translation>
  </message>
  <message>
   <source>none</source>
   <translation>keine</translation>
  </message>
  <message>
   <source>Encrypted; the server proved who it is.</source>
   <translation>Verschlüsselt; der Server hat bewiesen, wer er ist.</translation>
  </message>
  <message>
   <source>The site runs on this computer.</source>
   <translation>Der Standort läuft auf diesem Rechner.</translation>
  </message>
  <message>
   <source>The connection is NOT encrypted.</source>
   <translation>Die Verbindung ist NICHT verschlüsselt.</translation>
  </message>
  <message>
   <source> · submitted</source>
   <translation> · eingereicht</translation>
  </message>
  <message>
   <source>
Opened again, with the mask that was submitted.</source>
   <translation>
Wieder geöffnet, mit der eingereichten Maske.</translation>
  </message>
  <message>
   <source>initial</source>
   <translation>anfänglich</translation>
  </message>
  <message>
   <source>personal</source>
   <translation>persönlich</translation>
  </message>
  <message>
   <source>federated</source>
   <translation>föderiert</translation>
  </message>
  <message>
   <source>, serves</source>
   <translation>, dient</translation>
  </message>
  <message>
   <source>Asking the site …</source>
   <translation>Der Standort wird gefragt …</translation>
  </message>
  <message>
   <source> Nobody at this site has agreed to the plan, so it takes no part.</source>
   <translation> Niemand an diesem Standort hat dem Plan zugestimmt, daher nimmt er nicht teil.</translation>
  </message>
  <message>
   <source>taken</source>
   <translation>übernommen</translation>
  </message>
  <message>
   <source>kept its own</source>
   <translation>behielt die eigene</translation>
  </message>
  <message>
   <source>no Dice told</source>
   <translation>kein Dice mitgeteilt</translation>
  </message>
  <message>
   <source>about {seconds} h</source>
   <translation>etwa {seconds} h</translation>
  </message>
  <message>
   <source>{version} · {waited:.0f} ms ({at_site:.0f} at the site)</source>
   <translation>{version} · {waited:.0f} ms ({at_site:.0f} am Standort)</translation>
  </message>
  <message>
   <source>The new version</source>
   <translation>Die neue Version</translation>
  </message>
  <message>
   <source>Plan '{name}': {method} on {model}.</source>
   <translation>Plan '{name}': {method} auf {model}.</translation>
  </message>
  <message>
   <source> This site is paused.</source>
   <translation> Dieser Standort pausiert.</translation>
  </message>
  <message>
   <source>Round {number}: {dice} · {megabytes:.1f} MB · {seconds:.0f} s{refused}</source>
   <translation>Runde {number}: {dice} · {megabytes:.1f} MB · {seconds:.0f} s{refused}</translation>
  </message>
  <message>
   <source>base</source>
   <translation>Anfang</translation>
  </message>
  <message>
   <source>learning</source>
   <translation>Lernen</translation>
  </message>
  <message>
   <source>federation</source>
   <translation>Föderation</translation>
  </message>
  <message>
   <source>serves</source>
   <translation>dient</translation>
  </message>
  <message>
   <source>accepted</source>
   <translation>angenommen</translation>
  </message>
  <message>
   <source>refused</source>
   <translation>abgelehnt</translation>
  </message>
  <message>
   <source>candidate</source>
   <translation>Anwärter</translation>
  </message>
  <message>
   <source>champion</source>
   <translation>Sieger</translation>
  </message>
  <message>
   <source>waiting</source>
   <translation>wartet</translation>
  </message>
  <message>
   <source>training</source>
   <translation>trainiert</translation>
  </message>
  <message>
   <source>sending</source>
   <translation>sendet</translation>
  </message>
  <message>
   <source>aggregated</source>
   <translation>gemischt</translation>
  </message>
  <message>
   <source>failed</source>
   <translation>fehlgeschlagen</translation>
  </message>
  <message>
   <source>requested</source>
   <translation>angefragt</translation>
  </message>
  <message>
   <source>running</source>
   <translation>läuft</translation>
  </message>
  <message>
   <source>finished</source>
   <translation>beendet</translation>
  </message>
  <message>
   <source>stopped</source>
   <translation>angehalten</translation>
  </message>
  <message>
   <source>about {seconds} s</source>
   <translation>etwa {seconds} s</translation>
  </message>
  <message>
   <source>about {seconds} min</source>
   <translation>etwa {seconds} min</translation>
  </message>
  <message>
   <source>{count} rounds</source>
   <translation>{count} Runden</translation>
  </message>
  <message>
   <source>Reachable: '{name}', a stock MONAI Label server (version {version}).</source>
   <translation>Erreichbar: '{name}', ein gewöhnlicher MONAI-Label-Server (Version {version}).</translation>
  </message>
  <message>
   <source>Reachable: site '{site}', FedSeg {fedseg}.</source>
   <translation>Erreichbar: Standort '{site}', FedSeg {fedseg}.</translation>
  </message>
  <message>
   <source> Your role: {role}.</source>
   <translation> Ihre Rolle: {role}.</translation>
  </message>
  <message>
   <source>{who}{role} Models: {models}. {address}</source>
   <translation>{who}{role} Modelle: {models}. {address}</translation>
  </message>
  <message>
   <source>{name} (stock MONAI Label)</source>
   <translation>{name} (gewöhnliches MONAI Label)</translation>
  </message>
  <message>
   <source>Site '{site}'</source>
   <translation>Standort '{site}'</translation>
  </message>
  <message>
   <source>'{case}' is submitted.</source>
   <translation>'{case}' ist eingereicht.</translation>
  </message>
  <message>
   <source>
Chosen because: {reason}</source>
   <translation>
Gewählt, weil: {reason}</translation>
  </message>
  <message>
   <source>, by {authors}</source>
   <translation>, von {authors}</translation>
  </message>
  <message>
   <source>. The mask shown had Dice {dice:.2f} against the one submitted</source>
   <translation>. Die gezeigte Maske hatte Dice {dice:.2f} gegen die eingereichte</translation>
  </message>
  <message>
   <source>Refused by the site: {case} ({reason})</source>
   <translation>Vom Standort abgelehnt: {case} ({reason})</translation>
  </message>
  <message>
   <source> from {parent}</source>
   <translation> aus {parent}</translation>
  </message>
  <message>
   <source>State: {state}.</source>
   <translation>Zustand: {state}.</translation>
  </message>
  <message>
   <source>{words}: {time} left.</source>
   <translation>{words}: noch {time}.</translation>
  </message>
  <message>
   <source> Members: {sites}.</source>
   <translation> Mitglieder: {sites}.</translation>
  </message>
  <message>
   <source> This site's courier is not connected, so it takes no part in rounds.</source>
   <translation> Der Kurier dieses Standorts ist nicht verbunden, daher nimmt er an keinen Runden teil.</translation>
  </message>
  <message>
   <source> Started by {started_by}.</source>
   <translation> Gestartet von {started_by}.</translation>
  </message>
  <message>
   <source>Round {number} of {rounds} is running.{by}</source>
   <translation>Runde {number} von {rounds} läuft.{by}</translation>
  </message>
  <message>
   <source>, started by {started_by}</source>
   <translation>, gestartet von {started_by}</translation>
  </message>
  <message>
   <source>unknown</source>
   <translation>unbekannt</translation>
  </message>
  <message>
   <source>The mask you were shown had Dice {dice_shown:.2f} against yours.</source>
   <translation>Die gezeigte Maske hatte Dice {dice_shown:.2f} gegen Ihre.</translation>
  </message>
  <message>
   <source>Waiting on this computer to be sent: {cases}.</source>
   <translation>Wartet auf diesem Rechner auf Versand: {cases}.</translation>
  </message>
  <message>
   <source>{name} serves now</source>
   <translation>{name} dient nun</translation>
  </message>
  <message>
   <source>{name} was not taken</source>
   <translation>{name} wurde nicht übernommen</translation>
  </message>
  <message>
   <source> (Dice {dice_champion:.2f} → {dice_challenger:.2f})</source>
   <translation> (Dice {dice_champion:.2f} → {dice_challenger:.2f})</translation>
  </message>
  <message>
   <source> · refused: {name} ({reason})</source>
   <translation> · abgelehnt: {name} ({reason})</translation>
  </message>
  <message>
   <source>, then </source>
   <translation>, dann </translation>
  </message>
  <message>
   <source>no reason told</source>
   <translation>kein Grund mitgeteilt</translation>
  </message>
  <message>
   <source>somebody</source>
   <translation>jemandem</translation>
  </message>
  <message>
   <source>Take part again</source>
   <translation>Wieder teilnehmen</translation>
  </message>
  <message>
   <source>Pause this site</source>
   <translation>Standort pausieren</translation>
  </message>
  <message>
   <source>Shown: {answered_by}</source>
   <translation>Gezeigt: {answered_by}</translation>
  </message>
  <message>
   <source>given for this server</source>
   <translation>für diesen Server gegeben</translation>
  </message>
  <message>
   <source>asked before anything is sent</source>
   <translation>wird vor dem Senden erfragt</translation>
  </message>
  <message>
   <source>Not connected.</source>
   <translation>Nicht verbunden.</translation>
  </message>
  <message>
   <source>Testing …</source>
   <translation>Wird geprüft …</translation>
  </message>
  <message>
   <source>Test connection</source>
   <translation>Verbindung prüfen</translation>
  </message>
  <message>
   <source>{text}
The site cannot be watched at the moment: {link_lost}</source>
   <translation>{text}
Der Standort lässt sich zurzeit nicht beobachten: {link_lost}</translation>
  </message>
 </context>
 <context>
  <name>Cases</name>
  <message>
   <source>Cases</source>
   <translation>Fälle</translation>
  </message>
  <message>
   <source>Choose by:</source>
   <translation>Auswahl:</translation>
  </message>
  <message>
   <source>How the site chooses the next case</source>
   <translation>Wie der Standort den nächsten Fall auswählt</translation>
  </message>
  <message>
   <source>Next case</source>
   <translation>Nächster Fall</translation>
  </message>
  <message>
   <source>Fetch the next case from the site and open it</source>
   <translation>Den nächsten Fall vom Standort holen und öffnen</translation>
  </message>
  <message>
   <source>Skip</source>
   <translation>Übergehen</translation>
  </message>
  <message>
   <source>Leave this case for another day and open another one</source>
   <translation>Diesen Fall für einen anderen Tag lassen und einen anderen öffnen</translation>
  </message>
  <message>
   <source>Double-click a case to open it; one that was submitted comes with its mask</source>
   <translation>Ein Doppelklick öffnet einen Fall; ein eingereichter kommt mit seiner Maske</translation>
  </message>
  <message>
   <source>Case</source>
   <translation>Fall</translation>
  </message>
  <message>
   <source>State</source>
   <translation>Zustand</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>Open</source>
   <translation>Öffnen</translation>
  </message>
  <message>
   <source>Open the chosen case; one that was submitted comes with its mask</source>
   <translation>Den gewählten Fall öffnen; ein eingereichter kommt mit seiner Maske</translation>
  </message>
  <message>
   <source>Refresh</source>
   <translation>Auffrischen</translation>
  </message>
  <message>
   <source>Ask the site for its cases again</source>
   <translation>Den Standort erneut nach seinen Fällen fragen</translation>
  </message>
  <message>
   <source>A volume of the scene</source>
   <translation>Ein Volumen der Szene</translation>
  </message>
  <message>
   <source>Volume:</source>
   <translation>Volumen:</translation>
  </message>
  <message>
   <source>A volume that is loaded in Slicer, from DICOM or a file</source>
   <translation>Ein in Slicer geladenes Volumen, aus DICOM oder einer Datei</translation>
  </message>
  <message>
   <source>Name:</source>
   <translation>Name:</translation>
  </message>
  <message>
   <source>as the site shall call it; no patient's name</source>
   <translation>wie es am Standort heißen soll; kein Patientenname</translation>
  </message>
  <message>
   <source>Name of the case at the site; empty for the volume's own name</source>
   <translation>Name des Falls am Standort; leer für den Namen des Volumens</translation>
  </message>
  <message>
   <source>Send and open</source>
   <translation>Senden und öffnen</translation>
  </message>
  <message>
   <source>Send the voxels of the volume to the site, after asking, and open it as a case</source>
   <translation>Die Voxel des Volumens nach Rückfrage an den Standort senden und als Fall öffnen</translation>
  </message>
 </context>
 <context>
  <name>Compare</name>
  <message>
   <source>Compare versions</source>
   <translation>Versionen vergleichen</translation>
  </message>
  <message>
   <source>First:</source>
   <translation>Erste:</translation>
  </message>
  <message>
   <source>The first version</source>
   <translation>Die erste Version</translation>
  </message>
  <message>
   <source>Second:</source>
   <translation>Zweite:</translation>
  </message>
  <message>
   <source>The second version</source>
   <translation>Die zweite Version</translation>
  </message>
  <message>
   <source>Compare</source>
   <translation>Vergleichen</translation>
  </message>
  <message>
   <source>Ask both versions for a mask of the open case</source>
   <translation>Beide Versionen nach einer Maske des offenen Falls fragen</translation>
  </message>
  <message>
   <source>Structure</source>
   <translation>Struktur</translation>
  </message>
  <message>
   <source>First</source>
   <translation>Erste</translation>
  </message>
  <message>
   <source>Second</source>
   <translation>Zweite</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>Show:</source>
   <translation>Zeigen:</translation>
  </message>
  <message>
   <source>Where they differ, both beside each other, or both on top of each other</source>
   <translation>Wo sie sich unterscheiden, beide nebeneinander, oder beide übereinander</translation>
  </message>
  <message>
   <source>Take the first</source>
   <translation>Erste nehmen</translation>
  </message>
  <message>
   <source>Make the first version's mask the case's</source>
   <translation>Die Maske der ersten Version zu der des Falls machen</translation>
  </message>
  <message>
   <source>Take the second</source>
   <translation>Zweite nehmen</translation>
  </message>
  <message>
   <source>Make the second version's mask the case's</source>
   <translation>Die Maske der zweiten Version zu der des Falls machen</translation>
  </message>
  <message>
   <source>Keep mine</source>
   <translation>Meine behalten</translation>
  </message>
  <message>
   <source>Keep the case's own mask and end the comparison</source>
   <translation>Die eigene Maske des Falls behalten und den Vergleich beenden</translation>
  </message>
 </context>
 <context>
  <name>Federation</name>
  <message>
   <source>Federation</source>
   <translation>Föderation</translation>
  </message>
  <message>
   <source>The plan</source>
   <translation>Der Plan</translation>
  </message>
  <message>
   <source>Method:</source>
   <translation>Verfahren:</translation>
  </message>
  <message>
   <source>How the sites' versions are combined; the plan names what is allowed</source>
   <translation>Wie die Versionen der Standorte gemischt werden; der Plan nennt, was erlaubt ist</translation>
  </message>
  <message>
   <source>Rounds:</source>
   <translation>Runden:</translation>
  </message>
  <message>
   <source>How many exchanges to run</source>
   <translation>Wie viele Austausche laufen sollen</translation>
  </message>
  <message>
   <source>Start</source>
   <translation>Starten</translation>
  </message>
  <message>
   <source>Ask the hub to start a federated run</source>
   <translation>Die Zentrale bitten, föderierte Runden zu starten</translation>
  </message>
  <message>
   <source>Stop</source>
   <translation>Anhalten</translation>
  </message>
  <message>
   <source>Stop the federated run</source>
   <translation>Die föderierten Runden anhalten</translation>
  </message>
  <message>
   <source>Site</source>
   <translation>Standort</translation>
  </message>
  <message>
   <source>State</source>
   <translation>Zustand</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>New version</source>
   <translation>Neue Version</translation>
  </message>
  <message>
   <source>Show curve</source>
   <translation>Kurve zeigen</translation>
  </message>
  <message>
   <source>Plot the Dice of every site over the rounds</source>
   <translation>Den Dice jedes Standorts über die Runden zeichnen</translation>
  </message>
  <message>
   <source>Pause this site</source>
   <translation>Standort pausieren</translation>
  </message>
  <message>
   <source>Take no part in rounds for now; nothing leaves this site meanwhile</source>
   <translation>Vorerst an keinen Runden teilnehmen; solange verlässt nichts diesen Standort</translation>
  </message>
  <message>
   <source>Agree …</source>
   <translation>Zustimmen …</translation>
  </message>
  <message>
   <source>Say what would leave this site, and agree to the plan</source>
   <translation>Sagen, was diesen Standort verlassen würde, und dem Plan zustimmen</translation>
  </message>
  <message>
   <source>Take back</source>
   <translation>Zurücknehmen</translation>
  </message>
  <message>
   <source>Take back this site's agreement to the plan</source>
   <translation>Die Zustimmung dieses Standorts zum Plan zurücknehmen</translation>
  </message>
  <message>
   <source>Earlier runs</source>
   <translation>Frühere Läufe</translation>
  </message>
 </context>
 <context>
  <name>Learning</name>
  <message>
   <source>Learning</source>
   <translation>Lernen</translation>
  </message>
  <message>
   <source>Learn from corrections</source>
   <translation>Aus Korrekturen lernen</translation>
  </message>
  <message>
   <source>Train the site's model on the submitted masks</source>
   <translation>Das Modell des Standorts mit den eingereichten Masken trainieren</translation>
  </message>
  <message>
   <source>Stop</source>
   <translation>Anhalten</translation>
  </message>
  <message>
   <source>Stop learning; the version that serves stays</source>
   <translation>Das Lernen anhalten; die dienende Version bleibt</translation>
  </message>
  <message>
   <source>Show curve</source>
   <translation>Kurve zeigen</translation>
  </message>
  <message>
   <source>Plot how well the masks shown agreed with those submitted</source>
   <translation>Zeichnen, wie gut die gezeigten Masken mit den eingereichten übereinstimmten</translation>
  </message>
  <message>
   <source>All versions, newest first; Dice of the masks they showed against those submitted</source>
   <translation>Alle Versionen, die neueste zuerst; Dice ihrer gezeigten gegen die eingereichten Masken</translation>
  </message>
  <message>
   <source>Version</source>
   <translation>Version</translation>
  </message>
  <message>
   <source>From</source>
   <translation>Aus</translation>
  </message>
  <message>
   <source>State</source>
   <translation>Zustand</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>Cases</source>
   <translation>Fälle</translation>
  </message>
  <message>
   <source>reason, kept with the change</source>
   <translation>Grund, wird mit der Änderung aufbewahrt</translation>
  </message>
  <message>
   <source>Why another version should serve</source>
   <translation>Warum eine andere Version dienen soll</translation>
  </message>
  <message>
   <source>Let it serve</source>
   <translation>Dienen lassen</translation>
  </message>
  <message>
   <source>Let the chosen version serve, whatever the gate said</source>
   <translation>Die gewählte Version dienen lassen, gleich was die Prüfung sagte</translation>
  </message>
  <message>
   <source>Roll back</source>
   <translation>Zurückrollen</translation>
  </message>
  <message>
   <source>Let the version before the chosen one serve again</source>
   <translation>Die Version vor der gewählten wieder dienen lassen</translation>
  </message>
 </context>
 <context>
  <name>Notices</name>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>Stop what runs now</source>
   <translation>Anhalten, was jetzt läuft</translation>
  </message>
  <message>
   <source>May FedSeg send this?</source>
   <translation>Darf FedSeg dies senden?</translation>
  </message>
  <message>
   <source>I agree</source>
   <translation>Ich stimme zu</translation>
  </message>
  <message>
   <source>Remember this agreement for this server</source>
   <translation>Diese Zustimmung für diesen Server merken</translation>
  </message>
  <message>
   <source>Not now</source>
   <translation>Jetzt nicht</translation>
  </message>
  <message>
   <source>Send nothing</source>
   <translation>Nichts senden</translation>
  </message>
 </context>
 <context>
  <name>Segment</name>
  <message>
   <source>Segment</source>
   <translation>Segmentieren</translation>
  </message>
  <message>
   <source>Model:</source>
   <translation>Modell:</translation>
  </message>
  <message>
   <source>Which of the site's models segments</source>
   <translation>Welches Modell des Standorts segmentiert</translation>
  </message>
  <message>
   <source>Ask the model for a mask of every structure</source>
   <translation>Das Modell nach einer Maske aller Strukturen fragen</translation>
  </message>
  <message>
   <source>Structure:</source>
   <translation>Struktur:</translation>
  </message>
  <message>
   <source>The structure that you point at</source>
   <translation>Die Struktur, auf die Sie zeigen</translation>
  </message>
  <message>
   <source>Inside</source>
   <translation>Innen</translation>
  </message>
  <message>
   <source>Click inside the structure in a slice view (A)</source>
   <translation>In einer Schichtansicht in die Struktur klicken (A)</translation>
  </message>
  <message>
   <source>Outside</source>
   <translation>Außen</translation>
  </message>
  <message>
   <source>Click where the structure is not (D)</source>
   <translation>Klicken, wo die Struktur nicht ist (D)</translation>
  </message>
  <message>
   <source>Box</source>
   <translation>Kasten</translation>
  </message>
  <message>
   <source>Draw a box around the structure in a slice view (B)</source>
   <translation>In einer Schichtansicht einen Kasten um die Struktur ziehen (B)</translation>
  </message>
  <message>
   <source>Lasso</source>
   <translation>Lasso</translation>
  </message>
  <message>
   <source>Click points around the structure; double-click closes the outline (L)</source>
   <translation>Punkte um die Struktur klicken; ein Doppelklick schließt den Umriss (L)</translation>
  </message>
  <message>
   <source>Scribble</source>
   <translation>Strich</translation>
  </message>
  <message>
   <source>Paint over the structure: what you paint is in the mask (S)</source>
   <translation>Über die Struktur malen: was Sie malen, gehört zur Maske (S)</translation>
  </message>
  <message>
   <source>Unscribble</source>
   <translation>Wegstrich</translation>
  </message>
  <message>
   <source>Paint over what the structure is not: it leaves the mask (E)</source>
   <translation>Über das malen, was nicht Struktur ist: es verlässt die Maske (E)</translation>
  </message>
  <message>
   <source>Undo</source>
   <translation>Zurück</translation>
  </message>
  <message>
   <source>Take the last step back (U)</source>
   <translation>Den letzten Schritt zurücknehmen (U)</translation>
  </message>
  <message>
   <source>Redo</source>
   <translation>Wieder</translation>
  </message>
  <message>
   <source>Do the step again (Y)</source>
   <translation>Den Schritt wiederholen (Y)</translation>
  </message>
  <message>
   <source>Propagate</source>
   <translation>Fortsetzen</translation>
  </message>
  <message>
   <source>Carry the structure on from the prompted slices to the others (P)</source>
   <translation>Die Struktur von den markierten Schichten in die anderen tragen (P)</translation>
  </message>
  <message>
   <source>New start</source>
   <translation>Neuanfang</translation>
  </message>
  <message>
   <source>Forget the points and start over; the mask stays</source>
   <translation>Die Punkte vergessen und neu anfangen; die Maske bleibt</translation>
  </message>
  <message>
   <source>Stop</source>
   <translation>Anhalten</translation>
  </message>
  <message>
   <source>Keep the slices found so far</source>
   <translation>Die bisher gefundenen Schichten behalten</translation>
  </message>
  <message>
   <source>Segment from points and box</source>
   <translation>Aus Punkten und Kasten segmentieren</translation>
  </message>
  <message>
   <source>Ask the model for the structure that you pointed at</source>
   <translation>Das Modell nach der Struktur fragen, auf die Sie gezeigt haben</translation>
  </message>
  <message>
   <source>Correct by hand (Segment Editor)</source>
   <translation>Von Hand korrigieren (Segment Editor)</translation>
  </message>
 </context>
 <context>
  <name>Settings</name>
  <message>
   <source>Settings</source>
   <translation>Einstellungen</translation>
  </message>
  <message>
   <source>Your name:</source>
   <translation>Ihr Name:</translation>
  </message>
  <message>
   <source>goes with the masks you submit</source>
   <translation>begleitet die Masken, die Sie einreichen</translation>
  </message>
  <message>
   <source>Kept with every mask you submit; may stay empty</source>
   <translation>Wird mit jeder eingereichten Maske aufbewahrt; darf leer bleiben</translation>
  </message>
  <message>
   <source>CA file:</source>
   <translation>CA-Datei:</translation>
  </message>
  <message>
   <source>Certificate authority of your hospital (PEM); empty for those that this computer trusts</source>
   <translation>Zertifizierungsstelle Ihres Krankenhauses (PEM); leer für die, denen dieser Rechner traut</translation>
  </message>
  <message>
   <source>Segment every case when it opens</source>
   <translation>Jeden Fall beim Öffnen segmentieren</translation>
  </message>
  <message>
   <source>Ask the chosen model for a mask as soon as a case is open</source>
   <translation>Das gewählte Modell nach einer Maske fragen, sobald ein Fall offen ist</translation>
  </message>
  <message>
   <source>Tell the site time and clicks</source>
   <translation>Dem Standort Zeit und Klicks mitteilen</translation>
  </message>
  <message>
   <source>Send how long you took and how often you clicked along with every mask</source>
   <translation>Mit jeder Maske senden, wie lange Sie brauchten und wie oft Sie klickten</translation>
  </message>
  <message>
   <source>Consent:</source>
   <translation>Zustimmung:</translation>
  </message>
  <message>
   <source>Withdraw consent</source>
   <translation>Zustimmung zurücknehmen</translation>
  </message>
  <message>
   <source>Send nothing more to this server without asking</source>
   <translation>Diesem Server ohne Nachfrage nichts mehr senden</translation>
  </message>
 </context>
 <context>
  <name>Site</name>
  <message>
   <source>Site</source>
   <translation>Standort</translation>
  </message>
  <message>
   <source>Server:</source>
   <translation>Server:</translation>
  </message>
  <message>
   <source>Address of the site, like http://127.0.0.1:8000</source>
   <translation>Adresse des Standorts, etwa http://127.0.0.1:8000</translation>
  </message>
  <message>
   <source>Test connection</source>
   <translation>Verbindung prüfen</translation>
  </message>
  <message>
   <source>Can the site be reached? Nothing of yours is sent.</source>
   <translation>Ist der Standort erreichbar? Von Ihnen wird nichts gesendet.</translation>
  </message>
  <message>
   <source>Connect</source>
   <translation>Verbinden</translation>
  </message>
  <message>
   <source>Connect to the site</source>
   <translation>Mit dem Standort verbinden</translation>
  </message>
  <message>
   <source>Disconnect</source>
   <translation>Trennen</translation>
  </message>
  <message>
   <source>Leave the site; your work stays in the scene</source>
   <translation>Den Standort verlassen; Ihre Arbeit bleibt in der Szene</translation>
  </message>
  <message>
   <source>User:</source>
   <translation>Benutzer:</translation>
  </message>
  <message>
   <source>Your account at the site</source>
   <translation>Ihr Konto am Standort</translation>
  </message>
  <message>
   <source>Password:</source>
   <translation>Passwort:</translation>
  </message>
  <message>
   <source>Sent to the site once, never kept</source>
   <translation>Wird einmal an den Standort gesendet, nie aufbewahrt</translation>
  </message>
  <message>
   <source>Sign in</source>
   <translation>Anmelden</translation>
  </message>
  <message>
   <source>Sign in to the site; the password is not kept</source>
   <translation>Am Standort anmelden; das Passwort wird nicht aufbewahrt</translation>
  </message>
  <message>
   <source>A site on this computer</source>
   <translation>Ein Standort auf diesem Rechner</translation>
  </message>
  <message>
   <source>Python:</source>
   <translation>Python:</translation>
  </message>
  <message>
   <source>Interpreter of the environment that has the site installed</source>
   <translation>Interpreter der Umgebung, in der der Standort installiert ist</translation>
  </message>
  <message>
   <source>Images:</source>
   <translation>Bilder:</translation>
  </message>
  <message>
   <source>Folder of the images; they are read only, and stay where they are</source>
   <translation>Ordner der Bilder; sie werden nur gelesen und bleiben, wo sie sind</translation>
  </message>
  <message>
   <source>Structures:</source>
   <translation>Strukturen:</translation>
  </message>
  <message>
   <source>tumour=1, edema=2</source>
   <translation>tumour=1, edema=2</translation>
  </message>
  <message>
   <source>Names and voxel values of the structures to segment</source>
   <translation>Namen und Voxelwerte der zu segmentierenden Strukturen</translation>
  </message>
  <message>
   <source>Check</source>
   <translation>Prüfen</translation>
  </message>
  <message>
   <source>Can a site be started with these settings?</source>
   <translation>Kann mit diesen Angaben ein Standort gestartet werden?</translation>
  </message>
  <message>
   <source>Start</source>
   <translation>Starten</translation>
  </message>
  <message>
   <source>Start the site and connect to it</source>
   <translation>Den Standort starten und sich mit ihm verbinden</translation>
  </message>
  <message>
   <source>Stop</source>
   <translation>Anhalten</translation>
  </message>
  <message>
   <source>Stop the site; what was corrected and learned is kept</source>
   <translation>Den Standort anhalten; was korrigiert und gelernt wurde, bleibt</translation>
  </message>
 </context>
 <context>
  <name>Submit</name>
  <message>
   <source>Submit</source>
   <translation>Einreichen</translation>
  </message>
  <message>
   <source>Nothing to mark in this case</source>
   <translation>In diesem Fall ist nichts zu markieren</translation>
  </message>
  <message>
   <source>Submit an empty mask on purpose</source>
   <translation>Absichtlich eine leere Maske einreichen</translation>
  </message>
  <message>
   <source>Submit mask</source>
   <translation>Maske einreichen</translation>
  </message>
  <message>
   <source>Check the segmentation and send it to the site as the correction of this case</source>
   <translation>Die Segmentierung prüfen und als Korrektur dieses Falls an den Standort senden</translation>
  </message>
  <message>
   <source>Send now</source>
   <translation>Jetzt senden</translation>
  </message>
  <message>
   <source>Try again to send the masks that wait on this computer</source>
   <translation>Noch einmal versuchen, die hier wartenden Masken zu senden</translation>
  </message>
  <message>
   <source>Discard refused</source>
   <translation>Abgelehnte verwerfen</translation>
  </message>
  <message>
   <source>Give up the masks that the site does not take</source>
   <translation>Die Masken aufgeben, die der Standort nicht annimmt</translation>
  </message>
 </context>
</TS>
